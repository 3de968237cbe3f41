"""Scaled weights and their means and norms for each connection, against plain loops."""

import pytest
import torch
from torch import nn

from snip_cli.pruning.after_training.snacs.groups import each_connection, group_bounds
from snip_cli.pruning.after_training.snacs.weights import group_means, group_norms, scaled_weights


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(20, 3))


def blocks(weight, child_bounds, parent_bounds, inputs_per_channel):
    """Every connection's weights, one after the other."""
    for j, (first, last) in enumerate(child_bounds):
        for i, (start, end) in enumerate(parent_bounds):
            yield j, i, weight[first:last, start * inputs_per_channel : end * inputs_per_channel]


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


@pytest.mark.parametrize(
    ("shape", "inputs_per_channel"), [((5, 7, 3, 3), 1), ((5, 7, 1, 1), 1), ((5, 7), 1), ((5, 28), 4)]
)
@pytest.mark.parametrize(("children", "parents"), [(0, 0), (2, 3), (1, 1), (5, 2)])
def test_means_and_norms_are_those_of_each_block(shape, inputs_per_channel, children, parents):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    bounds = group_bounds(5, children), group_bounds(7, parents)
    means = group_means(weight, *bounds, inputs_per_channel)
    norms = group_norms(weight, *bounds, inputs_per_channel)
    assert means.shape == norms.shape == (len(bounds[0]), len(bounds[1]))
    for j, i, block in blocks(weight, *bounds, inputs_per_channel):
        torch.testing.assert_close(means[j, i], block.mean())
        torch.testing.assert_close(norms[j, i], block.norm())


@pytest.mark.parametrize("inputs_per_channel", [1, 4])
def test_each_connection_has_the_value_of_its_groups(inputs_per_channel):
    bounds = group_bounds(5, 2), group_bounds(7, 3)
    values = torch.arange(6.0).view(2, 3)
    spread = each_connection(
        values, child_bounds=bounds[0], parent_bounds=bounds[1], inputs_per_channel=inputs_per_channel
    )
    assert spread.shape == (5, 7 * inputs_per_channel)
    for j, i, block in blocks(spread, *bounds, inputs_per_channel):
        assert (block == values[j, i]).all()
