"""Weights scaled over the network."""

import torch
from torch import nn

from snip_cli.pruning.after_training.snacs.phi import scaled_weights


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(20, 3))


def test_scaling_brings_the_smallest_weight_of_the_network_to_0_and_the_largest_to_1():
    model = network()
    scaled = scaled_weights(model)
    everything = torch.cat([model[0].weight.flatten(), model[3].weight.flatten()]).double()
    low, high = everything.min(), everything.max()
    torch.testing.assert_close(scaled["0"], (model[0].weight.double() - low) / (high - low))
    torch.testing.assert_close(scaled["3"], (model[3].weight.double() - low) / (high - low))


def test_biases_and_batch_norm_do_not_count():
    model = network()
    before = scaled_weights(model)
    with torch.no_grad():
        model[0].bias.fill_(100.0)
        model[1].running_var.fill_(-100.0)
        model[1].num_batches_tracked.fill_(100_000)
    assert all(torch.equal(weight, before[name]) for name, weight in scaled_weights(model).items())


def test_equal_weights_all_become_0():
    model = nn.Linear(3, 2)
    nn.init.constant_(model.weight, 0.5)
    assert not scaled_weights(model)[""].any()
