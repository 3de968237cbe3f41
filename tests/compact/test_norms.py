"""Batch-norm that torch.fx shows as a function of stored tensors: followed like the layer, or named and left whole."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli.compact.network import compact, rebuild
from snip_cli.compact.paths import Paths
from snip_cli.models.prunable import prunable_parameters
from tests.compact.emptied import half_emptied, images, size

IMAGE = (2, 8, 8)
EXACT = 1e-12


class NormRelu(nn.BatchNorm2d):
    """Batch-norm and an activation in one module, as several libraries write it."""

    def forward(self, x):
        torch._assert(x.ndim == 4, "not a batch of images")
        mean = self.running_mean if not self.training or self.track_running_stats else None
        variance = self.running_var if not self.training or self.track_running_stats else None
        training = self.training or (mean is None and variance is None)
        return F.relu(F.batch_norm(x, mean, variance, self.weight, self.bias, training, 0.1, self.eps))


class Statistics(nn.Module):
    """Nothing but statistics, under names of their own."""

    def __init__(self, channels, persistent=True):
        super().__init__()
        self.register_buffer("mean", torch.linspace(-0.4, 0.4, channels), persistent)
        self.register_buffer("variance", torch.linspace(0.5, 2, channels))

    def forward(self, x):
        return F.batch_norm(x, running_mean=self.mean, running_var=self.variance)


class Scaled(Statistics):
    """The same with a scale, but without a shift."""

    def __init__(self, channels):
        super().__init__(channels)
        self.gamma = nn.Parameter(torch.linspace(-1, 1, channels))

    def forward(self, x):
        return F.batch_norm(x, self.mean, self.variance, weight=self.gamma, eps=1e-3)


class Norms(nn.Module):
    """Two convolutions with a batch-norm behind each; what `steps` reads of the first one's tensors is added."""

    def __init__(self, norm, steps=lambda model, x: 0):
        super().__init__()
        self.first, self.second, self.last = (
            nn.Conv2d(2, 8, 3, padding=1),
            nn.Conv2d(8, 6, 3, padding=1),
            nn.Linear(6, 3),
        )
        self.norm1, self.norm2, self.steps = norm(8), norm(6), steps

    def forward(self, x):
        x = self.norm1(self.first(x))
        return self.last(self.norm2(self.second(x)).mean((2, 3))) + self.steps(self, x)


def layer(channels):
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())


def made(norm, steps=lambda model, x: 0):
    torch.manual_seed(0)
    return half_emptied(Norms(norm, steps))


@torch.no_grad()
def check_same(model, result):
    batch = images(IMAGE, count=4)
    torch.testing.assert_close(result.network(batch), model(batch), rtol=0, atol=EXACT)


def test_a_norm_with_an_activation_is_followed_like_the_two_layers():
    fused, apart = made(NormRelu), made(layer)
    result = compact(fused, IMAGE)
    check_same(fused, result)
    assert result.stopped == []
    assert size(result.network) == size(compact(apart, IMAGE).network) < 0.5 * size(fused)
    assert len(result.network.norm1.running_mean) == result.network.first.out_channels < 8


def test_its_constants_are_those_of_the_layer():
    """Filter 0 is empty: after the norm it is a positive constant, which the padded convolution reads as ones."""
    model = made(NormRelu)
    with torch.no_grad():
        model.first.weight.normal_()
        model.second.weight.normal_()
        model.first.weight[0] = 0
        model.norm1.bias[0] = 5
    result = compact(model, IMAGE)
    check_same(model, result)
    assert result.layers[1]["ones"]


@pytest.mark.parametrize("norm", [Statistics, Scaled])
def test_tensors_of_any_name_or_none_are_followed(norm):
    model = made(norm)
    result = compact(model, IMAGE)
    check_same(model, result)
    assert result.stopped == []
    assert result.network.first.out_channels < 8


@pytest.mark.parametrize("norm", [NormRelu, Scaled])
def test_a_network_of_such_norms_can_be_rebuilt_from_its_state(norm):
    model = made(norm)
    result = compact(model, IMAGE)
    again = rebuild(made(norm), IMAGE, result.sizes, result.pads, copy.deepcopy(result.network.state_dict()))
    batch = images(IMAGE)
    assert torch.equal(again(batch), result.network(batch))


def read_again(model, x):
    return model.norm1.weight.sum()


def called_again(model, x):
    return model.norm1(x).sum()


def through_a_layer(model, x):
    return model.inner(x).sum() + F.batch_norm(x, model.inner.running_mean, model.inner.running_var).sum()


def of_the_batch(model, x):
    return F.batch_norm(x, None, None, training=True).sum()


def computed(model, x):
    return F.batch_norm(x, model.norm1.running_mean.abs(), model.norm1.running_var).sum()


def test_a_buffer_that_no_state_holds_stays():
    model = made(lambda channels: Statistics(channels, persistent=False))
    result = compact(model, IMAGE)
    check_same(model, result)
    assert result.stopped == ["batch_norm in norm1", "batch_norm in norm2"]


@pytest.mark.parametrize("steps", [read_again, called_again, through_a_layer, of_the_batch, computed])
def test_a_norm_whose_tensors_are_read_elsewhere_or_not_known_stays(steps):
    model = made(NormRelu, steps)
    model.inner = nn.BatchNorm2d(8).double().eval()
    result = compact(model, IMAGE)
    check_same(model, result)
    assert any(stopped.startswith("batch_norm") for stopped in result.stopped)
    assert result.network.first.out_channels == 8


def test_paths_lead_through_it_as_through_the_layer():
    counts = []
    for norm in (NormRelu, layer):
        model = Norms(norm)
        mask = {name: torch.ones(p.shape, dtype=torch.bool) for name, p in prunable_parameters(model).items()}
        mask["second.weight"][::2] = False
        counts.append(Paths(model, IMAGE).counts(mask))
    assert counts[0] == counts[1] == {"first": 152, "second": 219, "last": 12}
