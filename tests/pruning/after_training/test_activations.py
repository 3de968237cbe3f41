"""Activations of a sample: values, order, and errors."""

import pytest
import torch
from torch import nn

from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.activations import channel_means, sample_activations


def network():
    """Return a network whose last ReLU overwrites the output of a linear layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5), nn.ReLU(True)
    )


def images(count=7):
    return torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(3))


def batches(images_NCHW, size):
    return [(part, torch.zeros(len(part))) for part in images_NCHW.split(size)]


def test_activations_are_the_mean_output_before_batch_norm_and_relu():
    model, x_N1HW = network(), images()
    means = channel_means(model, batches(x_N1HW, 3), ["0", "4"])
    model.eval()
    outputs_NCHW = model[0](x_N1HW)
    torch.testing.assert_close(means["0"], outputs_NCHW.mean(dim=(2, 3)))
    torch.testing.assert_close(means["4"], model[4](model[:4](x_N1HW)))
    assert (means["4"] < 0).any()


def test_rows_are_aligned_whatever_the_batch_size():
    model = network()
    one = channel_means(model, batches(images(), 1), ["0", "4"])
    all_at_once = channel_means(model, batches(images(), 7), ["0", "4"])
    for name in one:
        torch.testing.assert_close(one[name], all_at_once[name])


def test_the_model_is_left_as_it_was_and_nothing_carries_a_gradient():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    means = channel_means(model, batches(images(), 3), ["0"])
    assert model.training
    assert model[1].training
    assert not means["0"].requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_dead_filter_is_no_error():
    model = network()
    with torch.no_grad():
        model[0].weight[1] = 0
    means = channel_means(model, batches(images(), 3), ["0"])
    assert len(means["0"][:, 1].unique()) == 1


def test_an_activation_that_is_not_finite_is_refused_by_the_name_of_its_layer():
    model = network()
    with torch.no_grad():
        model[4].weight[0, 0] = torch.inf
    with pytest.raises(ConfigError, match="outputs of layer '4' are not finite"):
        channel_means(model, batches(images(), 3), ["0", "4"])


def test_double_precision_stays():
    model = network().double()
    assert channel_means(model, batches(images().double(), 3), ["0"])["0"].dtype == torch.float64


def test_the_sample_is_aligned_with_its_classes():
    model, x_N1HW = network(), images(60)
    labels_N = torch.arange(60) % 3
    activations = sample_activations(model, list(zip(x_N1HW.split(25), labels_N.split(25), strict=True)), ["0", "4"])
    assert list(activations) == ["0", "4", ""]
    assert torch.equal(activations[""], labels_N)
    torch.testing.assert_close(activations["0"], model[0](x_N1HW).mean(dim=(2, 3)))
