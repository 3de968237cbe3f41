"""The compact network gives the same outputs as the masked one, and is as small as a calculation by hand says."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli import registry
from snip_cli.compact.network import compact, rebuild
from snip_cli.errors import ConfigError
from snip_cli.models.tensorflow import SameConv2d
from tests.compact.emptied import Conditional, Residual, half_emptied, images, largest_difference, lived_in, size
from tests.models.test_models import EXPECTED, build

EXACT = 1e-9
# The larger models of a family differ only in width and depth.
FAMILIES = sorted(set(registry.models.names()) - {"alexnet_b", "vgg_d", "vgg_like", "wrn_16_10", "wrn_22_8"})
IMAGE = (2, 6, 6)


def outputs_of(result):
    """The number of outputs left, by layer."""
    return {layer["name"]: layer["outputs"][1] for layer in result.layers}


def inputs_of(result):
    return {layer["name"]: layer["inputs"][1] for layer in result.layers}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_model_gives_the_same_outputs_and_is_smaller(name):
    shape, _ = EXPECTED[name]
    model = half_emptied(build(name))
    result = compact(model, shape)
    assert largest_difference(model, result.network, shape) < EXACT
    assert size(result.network) < 0.8 * size(model)
    again = compact(result.network, shape)
    assert {key: t.shape for key, t in again.network.state_dict().items()} == {
        key: t.shape for key, t in result.network.state_dict().items()
    }


@pytest.mark.parametrize("name", ["lenet_5_caffe", "vgg16", "resnet56", "lstm_s"])
def test_a_network_without_empty_parts_stays_the_same_bit_by_bit(name):
    shape, _ = EXPECTED[name]
    model = lived_in(build(name))
    result = compact(model, shape)
    assert result.sizes == {}
    assert size(result.network) == size(model)
    assert largest_difference(model, result.network, shape) == 0.0


@pytest.mark.parametrize("name", ["lenet_5_caffe", "alexnet_s", "resnet56", "mobilenet_v2", "gru_s"])
def test_it_can_be_rebuilt_from_its_sizes_and_state(name):
    shape, _ = EXPECTED[name]
    result = compact(half_emptied(build(name)), shape)
    again = rebuild(build(name).double(), shape, result.sizes, result.pads, result.network.state_dict())
    assert largest_difference(result.network, again, shape) == 0.0


@pytest.mark.parametrize("name", ["lenet_300_100", "vgg16", "resnet56", "gru_s"])
@torch.no_grad()
def test_a_network_that_is_cut_gives_the_same_constant(name):
    shape, _ = EXPECTED[name]
    model = lived_in(build(name))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.zero_()
    result = compact(model, shape)
    assert largest_difference(model, result.network, shape) < EXACT
    # What remains is one unit per layer and, where a constant differs at the borders, a channel of ones.
    assert size(result.network) < 0.05 * size(model)


@torch.no_grad()
def test_the_model_itself_is_not_changed():
    model = half_emptied(build("vgg16")).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    compact(model, (3, 32, 32))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@torch.no_grad()
def test_removed_units_empty_others_in_both_directions():
    """Unit 0 of the first layer reads nothing.

    Only unit 0 of the second layer reads unit 1, and nothing reads that unit.
    """
    model = lived_in(
        nn.Sequential(nn.Flatten(), nn.Linear(72, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    )
    first, second, third = (layer for layer in model if isinstance(layer, nn.Linear))
    first.weight[0] = 0
    first.bias[0] = 0.7
    second.weight[1:, 1] = 0
    third.weight[:, 0] = 0
    result = compact(model, IMAGE)
    assert outputs_of(result) == {"1": 2, "3": 2, "5": 2}
    assert largest_difference(model, result.network, IMAGE) < EXACT
    # Unit 0's constant of 0.7 is now in the biases of the units that read it.
    torch.testing.assert_close(result.network.get_submodule("3").bias, second.bias[1:] + 0.7 * second.weight[1:, 0])


@torch.no_grad()
def test_a_linear_layer_selects_the_pixels_that_it_reads():
    model = lived_in(nn.Sequential(nn.Flatten(), nn.Linear(72, 4)))
    model[1].weight[:, [0, 5, 71]] = 0
    result = compact(model, IMAGE)
    assert inputs_of(result) == {"1": 69}
    assert result.layers[0]["selected"]
    assert largest_difference(model, result.network, IMAGE) < EXACT


@torch.no_grad()
def test_a_linear_layer_gets_only_the_pixels_that_it_reads_of_a_flattened_channel():
    model = lived_in(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 4)))
    model[2].weight[:, 16:32] = 0  # channel 1
    model[2].weight[:, 3] = 0  # a pixel of channel 0
    result = compact(model, IMAGE)
    assert outputs_of(result)["0"] == 2
    assert inputs_of(result)["2"] == 31
    assert largest_difference(model, result.network, IMAGE) < EXACT


def convolutions(padding, *, same=False, bias=True):
    """Conv, batch-norm, ReLU, conv.

    Filters 1 and 3 of the first are empty; batch-norm makes 1 positive and 3 negative.
    """
    kind = SameConv2d if same else nn.Conv2d
    options = {} if same else {"padding": padding, "bias": bias}
    first, second = kind(2, 5, 3, **options), kind(5, 3, 3, **options)
    model = lived_in(nn.Sequential(first, nn.BatchNorm2d(5), nn.ReLU(), second))
    with torch.no_grad():
        first.weight[[1, 3]] = 0
        if first.bias is not None:
            first.bias[[1, 3]] = 0
        model[1].running_mean[[1, 3]] = 0
        model[1].bias[1], model[1].bias[3] = 0.4, -0.4
    return model


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", [0, 1])
def test_a_constant_channel_is_exact_at_the_borders_too(padding, bias):
    model = convolutions(padding, bias=bias)
    result = compact(model, IMAGE)
    assert outputs_of(result)["0"] == 3
    # With zero padding the sum over 0.4 differs at the borders, so a channel of ones replaces it. Else the bias does.
    assert ("ones" in result.layers[1]) == (padding == 1)
    assert inputs_of(result)["3"] == 3 + padding
    assert largest_difference(model, result.network, IMAGE) < EXACT


def test_all_constants_of_a_layer_share_one_channel_of_ones():
    model = convolutions(1)
    with torch.no_grad():
        model[1].bias[3] = 1.5
    result = compact(model, IMAGE)
    assert inputs_of(result)["3"] == 4
    assert largest_difference(model, result.network, IMAGE) < EXACT


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_other_than_zeros_needs_no_channel_of_ones(mode):
    model = convolutions(1)
    model[3].padding_mode = mode
    model[3]._reversed_padding_repeated_twice = [1, 1, 1, 1]
    result = compact(model, IMAGE)
    assert inputs_of(result)["3"] == 3
    assert largest_difference(model, result.network, IMAGE) < EXACT


@pytest.mark.parametrize("side", [6, 7])
def test_the_padding_of_tensorflow_is_exact_at_sizes_that_it_was_not_compacted_for(side):
    model = convolutions(None, same=True)
    result = compact(model, IMAGE)
    assert largest_difference(model, result.network, (2, side, side)) < EXACT


@torch.no_grad()
def test_a_channel_whose_scale_is_zero_is_constant():
    model = lived_in(nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 3, 3)))
    model[1].weight[2] = 0
    result = compact(model, IMAGE)
    assert outputs_of(result)["0"] == 4
    assert largest_difference(model, result.network, IMAGE) < EXACT


@torch.no_grad()
def test_an_empty_channel_of_a_sum_goes_only_if_it_is_empty_in_all_terms():
    model = lived_in(Residual())
    model.inner.weight[2] = 0
    # Channel 1 of the stem is channel 3 after the padding. At first it is empty in one term of the sum, then in both.
    model.stem.weight[1] = model.stem.bias[1] = 0
    result = compact(model, IMAGE)
    assert outputs_of(result) == {"stem": 4, "inner": 5, "outer": 8, "head": 3}
    assert result.layers[0]["empty_but_kept"] == 1
    model.outer.weight[3] = 0
    result = compact(model, IMAGE)
    assert outputs_of(result) == {"stem": 3, "inner": 5, "outer": 7, "head": 3}
    assert largest_difference(model, result.network, IMAGE) < EXACT


@torch.no_grad()
def test_padding_channels_go_if_the_channels_added_to_them_are_empty():
    model = lived_in(Residual())
    model.outer.weight[[0, 7]] = 0
    result = compact(model, IMAGE)
    assert result.pads == [[1, 1]]
    assert inputs_of(result)["head"] == 6
    assert largest_difference(model, result.network, IMAGE) < EXACT


class Gated(nn.Module):
    """A product of two convolutions' outputs."""

    def __init__(self):
        super().__init__()
        self.before, self.left, self.right = nn.Conv2d(2, 5, 1), nn.Conv2d(5, 4, 1), nn.Conv2d(5, 4, 1)
        self.after = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        x = self.before(x)
        return self.after(self.left(x) * self.right(x))


class Turned(Gated):
    """The same, with the channels of one factor in another order, which compaction does not follow."""

    def forward(self, x):
        x = self.before(x)
        return self.after(self.left(x) * self.right(x).roll(1, dims=1))


@torch.no_grad()
@pytest.mark.parametrize("kind, left", [(Gated, 3), (Turned, 4)])
def test_a_product_is_followed_and_around_an_unknown_operation_everything_stays(kind, left):
    model = lived_in(kind())
    for layer in (model.before, model.left, model.right):
        layer.weight[0] = 0
    result = compact(model, IMAGE)
    assert outputs_of(result) == {"before": 4, "left": left, "right": left, "after": 3}
    assert result.stopped == ([] if kind is Gated else ["roll"])
    assert largest_difference(model, result.network, IMAGE) < EXACT


class Twice(nn.Module):
    """One convolution at two places."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 3, 1)

    def forward(self, x):
        return self.head(F.relu(self.conv(F.relu(self.conv(x)))))


@torch.no_grad()
def test_a_layer_that_is_used_twice_stays_as_it_is():
    model = lived_in(Twice())
    model.conv.weight[0] = 0
    result = compact(model, IMAGE)
    assert outputs_of(result)["conv"] == 2
    assert largest_difference(model, result.network, IMAGE) < EXACT


def test_a_forward_pass_that_depends_on_its_input_is_refused():
    with pytest.raises(ConfigError, match=r"torch\.fx cannot follow its forward pass"):
        compact(Conditional(), IMAGE)


def test_dropout_does_nothing_in_inference():
    model = lived_in(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Dropout(0.5), nn.AvgPool2d(2), nn.Tanh(), nn.Conv2d(4, 3, 1)))
    with torch.no_grad():
        model[0].weight[1:3] = 0
    result = compact(model, IMAGE)
    assert outputs_of(result) == {"0": 2, "4": 3}
    assert torch.equal(result.network(images(IMAGE)), result.network(images(IMAGE)))
    assert largest_difference(model, result.network, IMAGE) < EXACT


class Pooled(nn.Module):
    """Pooling as a function."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 5, 3), nn.Conv2d(5, 3, 1)

    def forward(self, x):
        return self.head(F.max_pool2d(F.relu(self.conv(x)), 2, padding=1))


@torch.no_grad()
def test_pooling_by_a_function_is_followed():
    model = lived_in(Pooled())
    model.conv.weight[[1, 2]] = 0
    model.conv.bias[[1, 2]] = torch.tensor([0.7, -0.7], dtype=torch.float64)
    result = compact(model, IMAGE)
    assert outputs_of(result) == {"conv": 3, "head": 3}
    assert largest_difference(model, result.network, IMAGE) < EXACT
