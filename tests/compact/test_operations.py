"""Operations without weights, in every way that a forward pass may write them: channels that go, and equal outputs."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli.compact.network import compact
from tests.compact.emptied import images, lived_in

IMAGE = (2, 8, 8)
EXACT = 1e-12


class Between(nn.Module):
    """Two convolutions with something between them; filters 1, 3, 5 and 7 of the first read nothing."""

    def __init__(self, between, **layers):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 3, 1)
        self.between, self.others = between, nn.ModuleDict(layers)

    def forward(self, x):
        return self.second(self.between(self.first(x), **self.others))


def emptied(model):
    model = lived_in(model)
    with torch.no_grad():
        model.first.weight[1::2] = 0
        model.first.bias[1::2] = torch.tensor([0.0, 0.4, -0.7, 1.3], dtype=torch.float64)
    return model


@torch.no_grad()
def check(model, shape, left, stopped=()):
    """The outputs stay the same, and so many filters of the first layer are left."""
    result = compact(model, shape)
    batch = images(shape, count=4)
    torch.testing.assert_close(result.network(batch), model(batch), rtol=0, atol=EXACT)
    assert len(result.network.first.weight) == left
    assert result.stopped == list(stopped)


POINTWISE = {
    "relu by method": lambda x: x.relu(),
    "relu in place": lambda x: x.relu_(),
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "clamp to six": lambda x: torch.clamp(x, max=6),
    "leaky relu": lambda x: F.leaky_relu(x, negative_slope=0.3),
    "hardswish": F.hardswish,
    "mish": F.mish,
    "log-sigmoid": F.logsigmoid,
    "sum with a number": lambda x: x + 1,
    "number times": lambda x: 2 * x,
    "reciprocal": lambda x: 1 / (x * x + 1),
    "power": lambda x: x**2,
    "in place by operator": lambda x: operator.imul(x, 2),
    "condition": lambda x: torch.where(x > 0, x, 0.1 * x - 0.5),
    "product with itself": lambda x: x * torch.sigmoid(x),
    "copy": lambda x: x.clone().contiguous(),
}
POOLS = {
    "max": lambda x: F.max_pool2d(x, 2),
    "average": lambda x: F.avg_pool2d(x, 2),
    "average, rounded up": lambda x: F.avg_pool2d(x, 3, ceil_mode=True),
    "average without its border": lambda x: F.avg_pool2d(x, 3, padding=1, count_include_pad=False),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, 3),
    "adaptive to one pixel": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive maximum": lambda x: F.adaptive_max_pool2d(x, 2),
    "mean": lambda x: x.mean(dim=(-2, -1), keepdim=True),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear, to a size read from a tensor": lambda x: F.interpolate(x, size=x.shape[-2:], mode="bilinear"),
    "mirrored border": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "slice": lambda x: x[:, :, 1:-1, ::2],
    "flip": lambda x: x.flip(3),
    "rows and columns exchanged": lambda x: x.transpose(2, -1),
    "axes in another order": lambda x: x.permute(0, 1, 3, 2),
}


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_operations_are_followed(name):
    check(emptied(Between(POINTWISE[name])), IMAGE, 4)


@pytest.mark.parametrize("name", POOLS)
def test_operations_on_pixels_are_followed(name):
    check(emptied(Between(POOLS[name])), IMAGE, 4)


# Each makes the constant of a channel differ from pixel to pixel, or from what it was. A zero stays zero.
NOT_CONSTANT = {
    "divisor": nn.AvgPool2d(2, divisor_override=3),
    "divisor, overlapping": nn.AvgPool2d(3, 1, divisor_override=2),
    "border of zeros": nn.AvgPool2d(3, padding=1),
    "padding": nn.ZeroPad2d(1),
}


@pytest.mark.parametrize("name", NOT_CONSTANT)
def test_a_constant_that_is_one_no_more_stays(name):
    check(emptied(Between(lambda x, layer: layer(x), layer=NOT_CONSTANT[name])), IMAGE, 7)


def test_a_padding_layer_keeps_the_constant_that_it_pads_with():
    check(emptied(Between(lambda x, layer: layer(x), layer=nn.ConstantPad2d(1, 1.3))), IMAGE, 7)


def test_a_sum_over_pixels_keeps_only_a_zero_as_it_is():
    check(emptied(Between(lambda x: x.sum((2, 3), keepdim=True))), IMAGE, 7)


UNKNOWN = {
    "exchanged with an axis of pixels": (lambda x: x.transpose(1, 2), "transpose"),
    "axes moved": (lambda x: x.permute(0, 2, 1, 3), "permute"),
    "sum over channels": (lambda x: x - x.sum(1, keepdim=True), "sum"),
    "roll": (lambda x: x.roll(1, dims=1), "roll"),
    "number of channels": (lambda x: x / x.size(1), "size"),
    "number of elements": (lambda x: x / x.numel(), "numel"),
    "softmax": (lambda x: x.softmax(1), "softmax"),
    "mean over channels": (lambda x: x - x.mean(1, keepdim=True), "mean"),
    "groups": (lambda x: x.view(-1, 2, 4, 8, 8).transpose(1, 2).reshape(-1, 8, 8, 8), "view"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_operations_that_mix_or_count_channels_keep_all_and_are_named(name):
    function, said = UNKNOWN[name]
    result = compact(model := emptied(Between(function)), IMAGE)
    batch = images(IMAGE)
    assert torch.equal(result.network(batch), model(batch))
    assert result.network.first.out_channels == 8
    assert result.stopped[0] == said


@pytest.mark.parametrize("layer", [nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 1, groups=2), nn.PReLU(8), nn.Linear(8, 8)])
def test_layers_that_are_not_followed_are_named(layer):
    result = compact(emptied(Between(lambda x, layer: layer(x), layer=layer)), IMAGE)
    assert result.network.first.out_channels == 8
    assert result.stopped[0].startswith(f"others.layer ({type(layer).__name__}")


class Flat(nn.Module):
    """A linear layer behind a convolution, and something that flattens."""

    def __init__(self, flatten, features):
        super().__init__()
        self.first, self.linear, self.flatten = nn.Conv2d(2, 8, 3, padding=1), nn.Linear(features, 3), flatten

    def forward(self, x):
        return self.linear(self.flatten(torch.relu(self.first(x)), x))


def squeezed(y):
    return F.adaptive_avg_pool2d(y, 1)


FLATTENED = {
    "flatten": (lambda y, x: y.flatten(1), 512),
    "torch.flatten": (lambda y, x: torch.flatten(y, 1), 512),
    "torch.flatten by name": (lambda y, x: torch.flatten(y, start_dim=1), 512),
    "view": (lambda y, x: y.view(x.size(0), -1), 512),
    "view of a number": (lambda y, x: y.view(-1, 512), 512),
    "reshape": (lambda y, x: torch.reshape(y, (x.shape[0], 512)), 512),
    "squeeze": (lambda y, x: squeezed(y).squeeze(), 8),
    "two squeezes": (lambda y, x: squeezed(y).squeeze(-1).squeeze(-1), 8),
    "index": (lambda y, x: squeezed(y)[:, :, 0, 0], 8),
    "mean of a view": (lambda y, x: y.view(y.size(0), y.size(1), -1).mean(2), 8),
    "mean": (lambda y, x: y.mean([2, 3]), 8),
}


@pytest.mark.parametrize("name", FLATTENED)
def test_every_way_to_flatten_gives_the_same_size(name):
    check(emptied(Flat(*FLATTENED[name])), IMAGE, 4)


@pytest.mark.parametrize("name", ["view", "view of a number"])
def test_a_view_still_works_if_one_channel_is_left(name):
    model = emptied(Flat(*FLATTENED[name]))
    with torch.no_grad():
        model.first.weight[1:] = 0
    check(model, IMAGE, 1)


def squeeze_and_excite(x, down, up):
    batch, channels, _, _ = x.size()
    scale = up(F.relu(down(x.mean((2, 3)).view(batch, channels)))).view(batch, channels, 1, 1)
    return x * torch.sigmoid(scale).expand_as(x)


def test_channels_scaled_by_a_gate_are_followed():
    model = emptied(Between(squeeze_and_excite, down=nn.Linear(8, 4), up=nn.Linear(4, 8)))
    # A channel that is not zero is scaled by what the others are, so that it varies.
    check(model, IMAGE, 7)
    with torch.no_grad():
        model.first.bias[1::2] = 0
    check(model, IMAGE, 4)


class Joined(nn.Module):
    """Two convolutions' channels one after another, as in DenseNets and U-Nets."""

    def __init__(self, join):
        super().__init__()
        self.first, self.other, self.join = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(2, 4, 1), join
        self.norm, self.last = nn.BatchNorm2d(12), nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, x):
        return self.last(F.relu(self.norm(self.join(self.first(x), self.other(x)))))


@pytest.mark.parametrize(
    "join",
    [
        lambda a, b: torch.cat([a, b], 1),
        lambda a, b: torch.concat((b, a), dim=-3),
        lambda a, b: torch.cat(tensors=[a, b], dim=1),
    ],
)
def test_joined_channels_are_followed(join):
    model = emptied(Joined(join))
    with torch.no_grad():
        model.other.weight[2] = 0
    check(model, IMAGE, 4)
    assert compact(model, IMAGE).network.other.out_channels == 3


class Up(nn.Module):
    """A transposed convolution, whose constant inputs make a pattern."""

    def __init__(self, layer):
        super().__init__()
        self.first, self.up, self.last = nn.Conv2d(2, 8, 3, padding=1), layer, nn.Conv2d(6, 3, 1)

    def forward(self, x):
        return self.last(F.relu(self.up(self.first(x))))


@pytest.mark.parametrize(
    "options", [{"kernel_size": 2, "stride": 2}, {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}]
)
def test_a_transposed_convolution_is_followed(options):
    model = emptied(Up(nn.ConvTranspose2d(8, 6, **options)))
    with torch.no_grad():
        model.up.weight[:, 2] = 0
    check(model, IMAGE, 4)
    assert compact(model, IMAGE).network.last.in_channels == 5
    with torch.no_grad():
        model.first.bias[1::2] = 0
    check(model, IMAGE, 4)


class Signal(nn.Module):
    """Convolutions, batch-norm and pooling of N×C×L or N×C×D×H×W."""

    def __init__(self, convolution, norm, pool):
        super().__init__()
        self.first, self.norm, self.pool = convolution(2, 8, 3, padding=1), norm(8), pool(2)
        self.second, self.last = convolution(8, 5, 3, padding=1), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(self.second(self.pool(F.relu(self.norm(self.first(x))))).flatten(2).mean(-1))


@pytest.mark.parametrize(
    "layers", [(nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d), (nn.Conv3d, nn.BatchNorm3d, nn.AvgPool3d)]
)
def test_signals_and_volumes_are_followed(layers):
    check(emptied(Signal(*layers)), (2, 16) if layers[0] is nn.Conv1d else (2, 4, 4, 4), 4)


class Rows(nn.Module):
    """Two linear layers on every row of N×T×6, with something between them."""

    def __init__(self, between, **layers):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)
        self.between, self.others = between, nn.ModuleDict(layers)

    def forward(self, x):
        return self.second(self.between(self.first(x), **self.others))


ALONG_ROWS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "sum with a number": lambda x: x + 1,
    "sum with itself": lambda x: x + F.relu(x),
    "product with itself": lambda x: x * torch.sigmoid(x),
    "copy": lambda x: x.clone().contiguous(),
}
# With 8 rows, the rows and the features cannot be told apart by their number.
ROWS = [(4, 6), (8, 6), (3, 4, 6)]


@pytest.mark.parametrize("shape", ROWS)
@pytest.mark.parametrize("name", ALONG_ROWS)
def test_features_of_several_rows_are_followed(name, shape):
    check(emptied(Rows(ALONG_ROWS[name])), shape, 4)


ACROSS_ROWS = {
    "softmax": (lambda x: x.softmax(-1), "softmax"),
    "roll": (lambda x: x.roll(1, -1), "roll"),
    "flip": (lambda x: x.flip(-1), "flip"),
    "mean of rows": (lambda x: x.mean(1), "mean"),
    "number of features": (lambda x: x / x.size(-1), "size"),
    "one row": (lambda x: x[:, 0], "getitem"),
    "rows after rows": (lambda x: torch.cat([x, x], 1), "cat"),
}


@pytest.mark.parametrize("shape", ROWS)
@pytest.mark.parametrize("name", ACROSS_ROWS)
def test_operations_on_rows_that_are_not_followed_are_named(name, shape):
    function, said = ACROSS_ROWS[name]
    check(emptied(Rows(function)), shape, 8, [said])
