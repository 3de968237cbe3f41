"""The parameters on a path from input to output equal those of plain references; unknown paths give None."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli import registry
from snip_cli.compact.paths import Paths
from snip_cli.compact.tracing import trace
from snip_cli.models.prunable import prunable_parameters
from snip_cli.models.recurrent import RowByRow
from tests.compact.emptied import Conditional, Residual
from tests.compact.paths import by_derivatives, by_gradients, by_search, drawn_mask
from tests.models.test_models import EXPECTED, build

# The larger models of a family differ only in width and depth; the recurrent ones have a reference of their own.
LARGER = {"alexnet_b", "vgg_d", "vgg_like", "vgg16", "wrn_16_10", "wrn_22_8"}
FEED_FORWARD = sorted(set(registry.models.names()) - LARGER - {"lstm_s", "lstm_b", "gru_s", "gru_b"})
IMAGE = (2, 8, 8)


def effective_mask(model, mask, shape):
    return Paths(model, shape).effective(mask)


def effective_counts(model, mask, shape):
    return Paths(model, shape).counts(mask)


def check_same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


def count(mask):
    return sum(int(keep.sum()) for keep in mask.values())


def all_but(model, *places):
    """A mask that keeps everything except the given entries: pairs of a parameter's name and an index."""
    mask = {name: torch.ones(p.shape, dtype=torch.bool) for name, p in prunable_parameters(model).items()}
    for name, index in places:
        mask[name][index] = False
    return mask


@pytest.mark.parametrize("name", FEED_FORWARD)
def test_every_model_against_the_gradients_of_a_positive_network(name):
    shape, _ = EXPECTED[name]
    model = build(name)
    mask = drawn_mask(model, 1.5, kernels=True)
    found = effective_mask(model, mask, shape)
    check_same(found, by_gradients(model, mask, shape))
    assert 0 < count(found) < count(mask)


def chain():
    """Convolutions with and without groups, a depthwise one among them, and linear layers behind a flatten."""
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Sigmoid(), nn.Conv2d(4, 6, 1, groups=2), nn.Softplus()),
        *(nn.Flatten(), nn.Linear(54, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 3)),
    )


@pytest.mark.parametrize("seed", range(10))
def test_random_masks_of_a_chain_against_a_search(seed):
    model = chain()
    mask = drawn_mask(model, 1.5, seed=seed)
    check_same(effective_mask(model, mask, IMAGE), by_search(model, mask))


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("seed", range(10))
def test_random_masks_of_a_recurrent_net_against_derivatives(seed, layer):
    torch.manual_seed(seed)
    model = RowByRow(4, layer(6, 8, batch_first=True), 3, 1.0)
    mask = drawn_mask(model, 1.0, seed=seed)
    check_same(effective_mask(model, mask, (1, 5, 4)), by_derivatives(model, mask))


def test_weights_into_and_out_of_a_disconnected_unit_do_not_count():
    """Unit 0 of the first layer reads nothing, and nothing reads unit 1; both keep their biases."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.ReLU(), nn.Linear(4, 3))
    mask = all_but(model, ("1.weight", 0), ("3.weight", (slice(None), 1)))
    assert effective_counts(model, mask, IMAGE) == {"1": 2 * 128 + 2, "3": 3 * 2 + 3}


def test_a_shortcut_that_pads_channels_leads_past_the_layers_of_its_block():
    """Channels 2 to 5 of the sum come from the shortcut.

    Without its first layer, the block lets no other channel through.
    """
    model = Residual()
    mask = all_but(model, ("inner.weight", ...), ("inner.bias", ...))
    assert effective_counts(model, mask, IMAGE) == {"stem": 4 * 18 + 4, "inner": 0, "outer": 0, "head": 3 * 4 + 3}


class Classic(nn.Module):
    """A forward pass as in many tutorials: functions for layers, a view for a flatten, and one layer used twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(32, 3)

    def forward(self, x):
        x = F.relu(self.conv(x))
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.fc(x.view(x.size(0), -1))


def test_a_parameter_of_a_layer_used_twice_counts_if_it_is_on_a_path_at_either_place():
    model = Classic()
    # Nothing writes channel 1, so reading it does not count at the second place. At the first it is the image's.
    mask = all_but(model, ("conv.weight", 1))
    assert effective_counts(model, mask, IMAGE) == {"conv": 18 + 1, "fc": 3 * 16 + 3}
    mask = all_but(model, ("conv.weight", (0, 1)), ("conv.weight", (1, 1)))
    # Nothing reads channel 1, so writing it does not count at the first place. At the second the linear layer reads it.
    assert effective_counts(model, mask, IMAGE) == {"conv": 2 * 9 + 2, "fc": 3 * 32 + 3}


class Bordered(nn.Module):
    """A constant that is not zero, with a border of zeros or of another constant."""

    def __init__(self, border):
        super().__init__()
        self.first, self.second, self.border = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 1, 3), border

    def forward(self, x):
        return self.second(F.pad(torch.sigmoid(self.first(x)), (1, 1, 1, 1), value=self.border))


@pytest.mark.parametrize("border", [0.0, 0.5, 1.0])
def test_a_constant_that_no_input_reaches_is_no_path_at_a_border_either(border):
    model = Bordered(border)
    assert effective_counts(model, all_but(model, ("first.weight", 0)), IMAGE) == {"first": 3, "second": 10}


def test_a_frozen_layer_connects_everything_and_is_not_counted():
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    model[3].requires_grad_(False)
    mask = all_but(model, ("1.weight", slice(3)), ("5.weight", 0))
    assert effective_counts(model, mask, IMAGE) == {"1": 128 + 1, "5": 3 + 1}


class Gated(nn.Module):
    """A product of two layers."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 3, 1), nn.Conv2d(3, 1, 1)

    def forward(self, x):
        return self.head(self.left(x) * self.right(x))


def test_a_product_leads_on_from_either_factor():
    """The first output of the left layer reads nothing, and the second of the right one."""
    model = Gated()
    mask = all_but(model, ("left.weight", 0), ("right.weight", 1))
    assert effective_counts(model, mask, IMAGE) == {"left": 2 * 3, "right": 2 * 3, "head": 3 + 1}


class Joined(Gated):
    """The channels of two layers one after another, of which the head reads a part."""

    def forward(self, x):
        return self.head(torch.cat([self.left(x), self.right(x)], dim=1)[:, :3])


class Decoder(nn.Module):
    """The upper end of a U-Net: a transposed convolution, beside what it is joined to."""

    def __init__(self):
        super().__init__()
        self.down, self.up, self.head = nn.Conv2d(2, 3, 3, 2, 1), nn.ConvTranspose2d(3, 4, 2, 2), nn.Conv2d(6, 1, 1)

    def forward(self, x):
        return self.head(torch.cat([x, self.up(self.down(x).clamp(min=0))], dim=1))


def test_joined_channels_and_a_transposed_convolution_are_followed():
    model = Decoder()
    # Channel 1 of the first layer reads nothing; nothing reads channel 3 of the second, which is 5 of the joined ones.
    mask = all_but(model, ("down.weight", 1), ("head.weight", (slice(None), 5)))
    expected = {"down": 2 * 18 + 2, "up": 2 * 3 * 4 + 3, "head": 5 + 1}
    assert effective_counts(model, mask, IMAGE) == expected
    assert not effective_mask(model, mask, IMAGE)["up.weight"][1].any()


class Halved(Gated):
    """The two halves of the channels, given as a list."""

    def forward(self, x):
        first, second = self.left(x).chunk(2, dim=1)
        return self.right(torch.cat([second, first], dim=1)[:, :2])


class Tokens(nn.Module):
    """A linear layer on the last of three axes, whose features are not the second one."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 2)

    def forward(self, x):
        return self.linear(x.flatten(2)).flatten(1)


@pytest.mark.parametrize("kind", [Conditional, Joined, Halved, Tokens])
def test_a_network_that_cannot_be_followed_is_unknown_unless_nothing_is_pruned(kind):
    model = kind()
    mask = all_but(model)
    total = {name: sum(p.numel() for p in layer.parameters()) for name, layer in model.named_children()}
    assert effective_counts(model, mask, IMAGE) == total
    next(iter(mask.values()))[0] = False
    assert effective_counts(model, mask, IMAGE) is None


def test_the_model_is_not_changed_and_may_be_on_the_meta_device():
    model = build("resnet56").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    mask = drawn_mask(model, 1.5, kernels=True)
    counts = effective_counts(model, mask, (3, 32, 32))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert effective_counts(model.to("meta"), mask, (3, 32, 32)) == counts


@pytest.mark.parametrize("name", ["lstm_s", "gru_b"])
def test_a_recurrent_network_without_any_candidate_is_cut(name):
    """Its units stay at zero, whatever their other gates read."""
    model = build(name)
    units = model.recurrent.hidden_size
    candidate = slice(2 * units, 3 * units)
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    mask = all_but(model, *((f"recurrent.{part}_l0", candidate) for part in parts))
    assert set(effective_counts(model, mask, (1, 28, 28)).values()) == {0}


def test_a_network_is_followed_once_for_all_masks(monkeypatch):
    times = []
    monkeypatch.setattr("snip_cli.compact.paths.trace", lambda *network: times.append(1) or trace(*network))
    model = chain()
    paths = Paths(model, IMAGE)
    for seed in range(3):
        mask = drawn_mask(model, 1.5, seed=seed)
        check_same(paths.effective(mask), by_search(model, mask))
    assert len(times) == 1
