"""Networks whose graph does not tell all: equal outputs, or a sentence that names the layer; the model stays as it was."""

import copy
import operator
import re
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune

from snip_cli.compact import operations
from snip_cli.compact.network import compact
from snip_cli.compact.paths import Paths
from snip_cli.errors import ConfigError, RunError
from snip_cli.models.prunable import prunable_parameters
from tests.compact.emptied import half_emptied, images, size

IMAGE = (2, 8, 8)
EXACT = 1e-12


class Network(nn.Module):
    """Two convolutions and a linear layer; `steps` is the forward pass. Half of each layer is empty."""

    def __init__(self, steps, **others):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.last, self.steps = nn.Linear(8, 3), steps
        for name, other in others.items():
            setattr(self, name, other)

    def forward(self, x):
        return self.steps(self, x)

    def end(self, x):
        return self.last(x.mean((2, 3)))


def made(steps, **others):
    torch.manual_seed(0)
    return half_emptied(Network(steps, **others))


@torch.no_grad()
def check_same(model, shape=IMAGE):
    before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    result = compact(model, shape)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(generator, torch.get_rng_state())
    batch = images(shape, count=4)
    torch.testing.assert_close(result.network(batch.clone()), model(batch.clone()), rtol=0, atol=EXACT)
    return result


def layer_in_place(model, x):
    x = model.first(x)
    return model.end(model.second(model.relu(x)) + x)


def method_in_place(model, x):
    x = model.first(x)
    return model.end(model.second(x.add_(1)) + x)


def result_unused(model, x):
    x = model.first(x)
    F.relu(x, inplace=True)
    return model.end(model.second(x))


def operator_in_place(model, x):
    x = same = model.first(x)
    x += 1
    return model.end(model.second(x) + same)


def into_itself(model, x):
    x = model.first(x)
    torch.mul(x, 2, out=x)
    return model.end(model.second(x) + x)


def behind_an_identity(model, x):
    x = model.first(x)
    y = model.same(x)
    y.relu_()
    return model.end(model.second(x) + y)


def through_data(model, x):
    x = model.first(x)
    x.data.add_(1)
    return model.end(model.second(x))


def into_the_input(model, x):
    x.add_(1)
    return model.end(model.second(model.first(x)))


FOLLOWED = [layer_in_place, method_in_place, result_unused, operator_in_place, into_itself, behind_an_identity]
FOLLOWED += [through_data, into_the_input]


@pytest.mark.parametrize("steps", FOLLOWED)
def test_changes_in_place_are_followed(steps):
    result = check_same(made(steps, relu=nn.ReLU(inplace=True), same=nn.Identity()))
    assert result.stopped == []
    assert size(result.network) < 763


def through_a_part(model, x):
    x = model.first(x)
    x[:, :4].add_(1)
    return model.end(model.second(x) + x)


def through_a_reshape(model, x):
    x = model.first(x)
    y = x.flatten(2)
    y.relu_()
    return model.end(model.second(x) + x)


def part_read_later(model, x):
    x = model.first(x)
    part = x[:, :4]
    x.add_(1)
    return model.end(model.second(x) + torch.cat([part, part], 1))


def through_a_chunk(model, x):
    x = model.first(x)
    part, rest = x.chunk(2, 1)
    operator.iadd(part, 3)
    return model.end(model.second(x) + torch.cat([rest, part], 1))


@pytest.mark.parametrize("steps", [through_a_part, through_a_reshape, part_read_later, through_a_chunk])
def test_changes_through_another_view_keep_everything(steps):
    result = check_same(made(steps))
    assert "first (Conv2d, changed in place)" in result.stopped
    assert result.network.first.out_channels == 8


def test_an_input_that_a_hook_changes_in_place_is_noticed():
    model = made(layer_in_place, relu=nn.ReLU())

    def changes(layer, inputs):
        inputs[0].add_(1)

    model.relu.register_forward_pre_hook(changes)
    assert "first (Conv2d, changed in place)" in check_same(model).stopped


def chain(model, x):
    return model.end(model.second(model.relu(model.first(x))))


def doubled(layer, inputs, output):
    return 2 * output + 1


@pytest.mark.parametrize("name", ["first", "relu", "last"])
def test_a_layer_with_a_hook_keeps_everything(name):
    model = made(chain, relu=nn.ReLU())
    model.get_submodule(name).register_forward_hook(doubled)
    result = check_same(model)
    kind = type(model.get_submodule(name)).__name__
    assert result.stopped[0] == f"{name} ({kind}, with a hook or a forward pass of its own)"


def test_a_layer_with_another_forward_pass_keeps_everything():
    model = made(chain, relu=nn.ReLU())
    model.first.forward = lambda x: F.conv2d(x, model.first.weight, padding=1) + 1
    assert check_same(model).network.first.out_channels == 8


def test_what_torch_fx_does_not_see_is_refused():
    model = made(chain, relu=nn.ReLU())
    model.register_forward_hook(doubled)
    with pytest.raises(RunError, match=r"torch\.fx does not see, such as a hook of the network itself"):
        compact(model, IMAGE)


@pytest.mark.parametrize(
    "steps",
    [
        lambda model, x: chain(model, x) + model.second.weight.sum(),
        lambda model, x: chain(model, x) + model.second.bias[:3],
        lambda model, x: F.conv_transpose2d(model.relu(model.second(model.first(x))), model.second.weight),
        lambda model, x: chain(model, x) + model.second.weight.data.mean(),
    ],
)
def test_a_layer_whose_weights_are_read_elsewhere_stays(steps):
    result = check_same(made(steps, relu=nn.ReLU()))
    assert "second (Conv2d, whose parameters are used elsewhere too)" in result.stopped
    assert result.network.second.weight.shape == (8, 8, 3, 3)


def test_a_norm_without_parameters_at_two_places_stays():
    def steps(model, x):
        x = model.norm(model.first(x))
        return model.end(model.norm(model.second(x)))

    model = made(steps)
    model.norm = nn.BatchNorm2d(8, affine=False).double().eval()
    with torch.no_grad():
        model.first.weight[:6] = model.first.bias[:6] = 0
    assert check_same(model).network.norm.num_features == 8


def test_pooling_with_a_divisor_of_its_own():
    check_same(made(chain, relu=nn.AvgPool2d(2, divisor_override=3)))


def test_a_wrong_network_is_refused_and_the_layer_named(monkeypatch):
    """A mistake in what we know of one operation."""
    monkeypatch.setattr(operations, "POOLS", (*operations.POOLS, "avg_pool2d"))
    model = made(chain, relu=nn.AvgPool2d(2, divisor_override=3))
    with torch.no_grad():
        model.first.bias.fill_(0.7)
    with pytest.raises(RunError, match=r"differ from the masked network's \(.*\), first at second \(Conv2d\)"):
        compact(model, IMAGE)


def test_masks_of_torch_become_zeros():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    prune.ln_structured(model[0], "weight", 0.5, n=1, dim=0)
    prune.l1_unstructured(model[0], "weight", 0.1)
    prune.random_unstructured(model[2], "bias", 0.5)
    network = compact(model, (8,)).network
    assert prune.is_pruned(model)
    assert sorted(name for name, _ in network.named_parameters()) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert size(network) == 8 * 8 + 8 + 8 * 4 + 4
    batch = torch.randn(3, 8)
    torch.testing.assert_close(network(batch), model(batch))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm, parametrizations.weight_norm])
def test_weights_that_are_computed_stay(norm):
    model = made(chain, relu=nn.ReLU())
    model.first = norm(nn.Conv2d(2, 8, 3, padding=1).double()).eval()
    with torch.no_grad():
        model.second.weight[:, :4] = 0
    result = compact(model, IMAGE)
    assert result.network.first.out_channels == 8
    assert result.network.second.out_channels < 8
    batch = images(IMAGE)
    torch.testing.assert_close(result.network(batch), model(batch), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_type_is_checked_in_double_precision(dtype):
    model = made(chain, relu=nn.ReLU()).to(dtype)
    result = compact(model, IMAGE)
    assert {p.dtype for p in result.network.parameters()} == {dtype}
    assert size(result.network) < 763


def test_a_forward_pass_that_names_its_type_is_checked_in_it():
    def steps(model, x):
        return chain(model, x.float())

    model = made(steps, relu=nn.ReLU()).float()
    result = compact(model, IMAGE)
    batch = images(IMAGE).float()
    torch.testing.assert_close(result.network(batch), model(batch))


def test_counters_of_the_forward_pass_stay_as_they_were():
    def steps(model, x):
        model.calls.add_(1)
        return chain(model, x)

    model = made(steps, relu=nn.ReLU())
    model.register_buffer("calls", torch.zeros((), dtype=torch.int64))
    compact(model, IMAGE)
    assert int(model.calls) == 0


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, left, right):
        return self.layer(left + right)


REFUSED = {
    "another number of channels": (lambda: made(chain, relu=nn.ReLU()), (3, 8, 8), "does not take a batch of"),
    "a shape with the batch": (lambda: made(chain, relu=nn.ReLU()), (1, 2, 8, 8), "without the batch"),
    "two inputs": (TwoInputs, (4,), "one floating-point input"),
    "numbers of words": (lambda: nn.Embedding(5, 3), (4,), "one floating-point input"),
    "a batch of one size": (
        lambda: nn.Sequential(nn.Unflatten(0, (2, 1)), nn.Linear(4, 2)),
        (4,),
        "batches of any size",
    ),
    "random numbers": (
        lambda: made(lambda model, x: chain(model, F.dropout(x)), relu=nn.ReLU()),
        IMAGE,
        "two passes over the same inputs give different outputs",
    ),
    "lazy layers": (lambda: nn.LazyLinear(3), (4,), "run a batch through lazy layers"),
    "a network on the meta device": (lambda: nn.Linear(4, 3, device="meta"), (4,), "load weights"),
    "no copy": (lambda: made(chain, relu=nn.ReLU(), lock=threading.Lock()), IMAGE, "it cannot be copied"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_made_smaller_is_refused_in_a_sentence(name):
    make, shape, sentence = REFUSED[name]
    with pytest.raises(ConfigError, match=re.escape(sentence)) as refused:
        compact(make(), shape)
    assert "\n" not in str(refused.value)


def test_paths_are_those_of_the_tensor_after_a_change_in_place():
    """The shortcut starts behind the activation, which half of the first layer's outputs never reach."""
    model = Network(layer_in_place, relu=nn.ReLU(inplace=True))
    mask = {name: torch.ones(p.shape, dtype=torch.bool) for name, p in prunable_parameters(model).items()}
    mask["first.weight"][::2] = False
    outside = Network(lambda model, x: model.end(model.second(y := F.relu(model.first(x))) + y))
    assert Paths(model, IMAGE).counts(mask) == Paths(outside, IMAGE).counts(mask)
    assert Paths(Network(through_a_part), IMAGE).counts(mask) is None
