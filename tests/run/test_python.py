"""`snip_cli.prune` warns of the layers that its mask cuts off, in the words of snip-run, and of nothing else."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import snip_cli
from snip_cli.compact.collapse import collapsed_layers

BATCH = (torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 4)
REMEDY = "lower sparsity or choose another method or init."
CUT = "No kept path connects input and output, so the network gives every input the same answer: "


class Shortcut(nn.Module):
    """A layer with tiny weights beside a shortcut, and one that the forward pass never uses."""

    def __init__(self, *, followed):
        super().__init__()
        self.followed = followed
        self.first, self.inner, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.unused = nn.Linear(8, 8)
        shrink(self.inner)

    def forward(self, x):
        x = self.first(x)
        if not self.followed and not bool((x > 0).any()):  # torch.fx cannot follow this
            return x
        return self.last(x + self.inner(x))


def shrink(layer):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1e-6)


def mlp(*, tiny=()):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    for layer in tiny:
        shrink(model[layer])
    return model


def pruned(model, batch=BATCH, loss=F.cross_entropy, **options):
    """The mask and the warnings, all of which point at the line that calls."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mask = snip_cli.prune(model, batch, loss, **options)
    assert all(warning.filename == __file__ for warning in caught)
    return mask, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("method", ["snip", "magnitude", "random"])
def test_a_network_that_is_not_cut_is_no_reason_to_warn(method):
    assert pruned(mlp(), method=method, sparsity=0.5)[1] == []


@pytest.mark.parametrize("wrap", [lambda model: model, nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_a_layer_that_is_emptied_cuts_a_chain_through(wrap):
    mask, said = pruned(wrap(mlp(tiny=(2,))), method="magnitude", sparsity=0.8)
    assert [int(keep.sum()) for name, keep in mask.items() if name.endswith("2.weight")] == [0]
    first, last = (sum(int(k.sum()) for n, k in mask.items() if n.split(".")[-2] == layer) for layer in "04")
    assert said == [f"{CUT}0 ({first} kept), 2 (0 kept), 4 ({last} kept); {REMEDY}"]


def test_a_network_is_cut_between_layers_that_keep_weights():
    """The kept inputs of the last layer are units of which nothing is kept."""
    model = nn.Sequential(nn.Linear(8, 2, bias=False), nn.ReLU(), nn.Linear(2, 4, bias=False))
    model[0].weight.data[0], model[0].weight.data[1] = 1, 0.1
    model[2].weight.data[:, 0], model[2].weight.data[:, 1] = 0.1, 1
    _, said = pruned(model, method="magnitude", sparsity=0.5)
    assert said == [f"{CUT}0 (8 kept), 2 (4 kept); {REMEDY}"]


@pytest.mark.parametrize("followed", [True, False])
def test_a_layer_that_is_emptied_beside_a_shortcut_is_named(followed):
    torch.manual_seed(0)
    mask, said = pruned(Shortcut(followed=followed), method="magnitude", sparsity=0.4)
    assert not mask["inner.weight"].any() and mask["unused.weight"].any()
    assert said == ["No kept path from input to output passes these layers: inner (0 kept)."]


def test_a_layer_that_keeps_its_bias_alone_is_cut_off_too():
    mask = {"a.weight": torch.zeros(2, 2).bool(), "b.weight": torch.ones(2, 2).bool(), "a.bias": torch.ones(2).bool()}
    assert collapsed_layers(mask, None) == ["a"]
    assert collapsed_layers(mask, {"a": 0, "b": 4}) == ["a"]
    assert collapsed_layers({"norm.weight": torch.zeros(2).bool(), "norm.bias": torch.ones(2).bool()}, None) == []


def test_a_recurrent_network_and_two_inputs_are_judged_by_what_is_left():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x, y):
            return self.b(self.a(x) + y)

    model = Two()
    assert pruned(model, ((BATCH[0], BATCH[0]), BATCH[1]), sparsity=0.5)[1] == []
    shrink(model.a)
    _, said = pruned(model, ((BATCH[0], BATCH[0]), BATCH[1]), method="magnitude", sparsity=0.7)
    assert said == ["No kept path from input to output passes these layers: a (0 kept)."]
    tagger = nn.Sequential(nn.LSTM(8, 8))
    assert pruned(tagger, (BATCH[0], BATCH[0]), lambda out, y: out[0].square().mean(), sparsity=0.5)[1] == []


def test_norms_that_are_chosen_to_be_pruned_do_not_count_as_cut_off():
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    assert pruned(model, sparsity=0.3, prunable=["*.weight"], method="magnitude")[1] == []
    assert pruned(model, sparsity=0.5, prunable=["1.*"], method="random")[1] == []


def test_a_loader_is_read_once_and_no_random_number_is_used_up():
    class Loader(DataLoader):
        reads = 0

        def __iter__(self):
            self.reads += 1
            return super().__iter__()

    model, loader = mlp(tiny=(2,)), Loader(TensorDataset(*BATCH), batch_size=8, shuffle=True)
    state = torch.get_rng_state()
    assert pruned(model, loader, method="magnitude", sparsity=0.8)[1]
    assert torch.equal(torch.get_rng_state(), state)
    assert loader.reads == 1


def test_the_weights_and_a_graph_of_the_callers_are_left_alone():
    model = mlp(tiny=(2,))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    value = F.cross_entropy(model(BATCH[0]), BATCH[1])
    assert pruned(model, method="magnitude", sparsity=0.8)[1]
    value.backward()
    assert all(torch.equal(model.state_dict()[name], old) for name, old in before.items())
