"""Layers that compute their weight from other parameters: the effective weight counts, or the layer is refused by name."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import prune as torch_prune

import snip_cli
from snip_cli import registry
from snip_cli.errors import ConfigError
from snip_cli.models.effective import effective_weights
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.method import Stage, find_method


class Doubled(nn.Module):
    """A parametrization of one's own, with a layer of its own inside, which is no layer of the network."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, weight):
        return 2 * weight + 0 * self.inner.bias.sum()


registry.load_builtin()
AT_INIT = [name for name in registry.methods.names() if find_method(name).stage is Stage.AT_INIT]


def doubled(layer):
    return parametrize.register_parametrization(layer, "weight", Doubled())


NORMS = [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal, doubled]
every_norm = pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.__name__)


def network(norm):
    torch.manual_seed(0)
    return nn.Sequential(norm(nn.Linear(8, 8)), nn.Tanh(), norm(nn.Linear(8, 4)))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, 8, generator=generator), torch.randint(4, (16,), generator=generator)


def plain_twin(model):
    """The same network with its effective weights as parameters."""
    plain = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    with torch.no_grad():
        for layer, other in zip(plain, model.eval(), strict=True):
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(other.weight)
                layer.bias.copy_(other.bias)
    model.train()
    return plain


@every_norm
@pytest.mark.parametrize("method", [*AT_INIT, "lamp", "l1_filter"])
def test_the_mask_is_that_of_the_network_with_plain_weights(norm, method, batch):
    model = network(norm)
    mask, expected = (
        snip_cli.prune(each, batch, F.cross_entropy, method=method, sparsity=0.5) for each in (model, plain_twin(model))
    )
    assert list(mask) == list(expected) == ["0.weight", "2.weight", "0.bias", "2.bias"]
    assert all(torch.equal(mask[name], expected[name]) for name in mask)


@every_norm
def test_the_model_is_left_as_it_was(norm, batch):
    model = network(norm)
    before = copy.deepcopy(model.state_dict())
    kinds = [(type(layer), list(layer._modules), list(layer._parameters)) for layer in model.modules()]
    snip_cli.prune(model, batch, F.cross_entropy)
    with pytest.raises(ConfigError):
        snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.9999)
    assert [(type(layer), list(layer._modules), list(layer._parameters)) for layer in model.modules()] == kinds
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@every_norm
def test_a_mask_zeroes_the_effective_weight_and_goes_on_doing_so(norm, batch):
    model = network(norm)
    expected = plain_twin(model)
    mask = snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.7)
    snip_cli.apply_mask(model, mask)
    snip_cli.apply_mask(expected, mask)
    torch.testing.assert_close(model.eval()(batch[0]), expected(batch[0]))
    optimizer = torch.optim.SGD(model.train().parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()
        snip_cli.apply_mask(model, mask)
    assert model(batch[0]).isfinite().all()
    assert not model[0].weight[~mask["0.weight"]].any()
    assert model[0].weight[mask["0.weight"]].all()
    assert len(model[0].parametrizations.weight) == 2


def test_a_second_mask_leaves_pruned_what_the_first_pruned():
    layer = parametrizations.weight_norm(nn.Linear(2, 1, bias=False))
    snip_cli.apply_mask(layer, {"weight": torch.tensor([[True, False]])})
    snip_cli.apply_mask(layer, {"weight": torch.tensor([[True, True]])})
    assert layer.weight.bool().tolist() == [[True, False]]


def test_a_parametrized_weight_whose_parameters_are_frozen_is_left_out():
    model = network(parametrizations.weight_norm)
    model[0].parametrizations.requires_grad_(False)
    with effective_weights(model):
        assert list(prunable_parameters(model)) == ["2.weight", "0.bias", "2.bias"]


def test_a_parametrized_weight_of_a_recurrent_layer_is_pruned():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = parametrizations.weight_norm(nn.LSTM(8, 6, batch_first=True), "weight_hh_l0")

        def forward(self, rows):
            return self.lstm(rows)[0][:, -1]

    model = Last()
    batch = torch.randn(5, 3, 8), torch.randint(6, (5,))
    mask = snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.5)
    assert mask["lstm.weight_hh_l0"].shape == (24, 6)
    snip_cli.apply_mask(model, mask)
    model(batch[0])
    assert not model.lstm.weight_hh_l0[~mask["lstm.weight_hh_l0"]].any()


class Equalised(nn.Linear):
    """A linear layer whose weight is a property."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        scaled = self.weight
        del self.weight
        self.weight_scaled = scaled

    @property
    def weight(self):
        return self.weight_scaled * 0.5

    @weight.setter
    def weight(self, value):
        self.register_parameter("weight", value)


def lstm_with(norm):
    return norm(nn.LSTM(8, 4), "weight_hh_l0")


REFUSED = {
    "weight_norm": (lambda: nn.utils.weight_norm(nn.Linear(8, 4)), ["weight_g, weight_v", "remove_weight_norm"]),
    "spectral_norm": (lambda: nn.utils.spectral_norm(nn.Linear(8, 4)), ["weight_orig", "remove_spectral_norm"]),
    "a mask of torch's": (
        lambda: torch_prune.ln_structured(nn.Linear(8, 4), "weight", 0.5, n=1, dim=0),
        ["weight_orig", "torch.nn.utils.prune.remove"],
    ),
    "a recurrent layer": (lambda: lstm_with(nn.utils.weight_norm), ["weight_hh_l0_g, weight_hh_l0_v"]),
    "one's own": (lambda: Equalised(8, 4), ["weight_scaled", "register_parametrization"]),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_a_weight_that_a_hook_or_property_computes_is_refused_with_the_remedy(case, batch):
    make, phrases = REFUSED[case]
    model = nn.Sequential(nn.Linear(8, 8), make())
    for method in ("snip", "magnitude"):
        with pytest.raises(ConfigError) as refusal:
            snip_cli.prune(model, batch, F.cross_entropy, method=method)
        for phrase in ["layer '1'", *phrases]:
            assert phrase in str(refusal.value)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_frozen_layer_may_compute_its_weight_as_it_likes(batch):
    model = nn.Sequential(nn.Linear(8, 8), nn.utils.weight_norm(nn.Linear(8, 4)).requires_grad_(False))
    assert list(snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.5)) == ["0.weight", "0.bias"]


def test_outside_of_prune_a_parametrized_weight_is_refused_rather_than_left_out():
    with pytest.raises(ConfigError, match=r"layer '0' is parametrized.*snip_cli\.prune.*remove_parametrizations"):
        prunable_parameters(network(parametrizations.weight_norm))
