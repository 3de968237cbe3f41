"""A mask and the model it is applied to: the same under other names, or a sentence that names the difference."""

import re

import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune as torch_prune
from torch import nn
from torch.optim.swa_utils import AveragedModel

import snip_cli
from snip_cli.errors import ConfigError
from snip_cli.pruning.fitting import fit


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
        self.out.weight = self.words.weight

    def forward(self, tokens):
        return self.out(self.words(tokens).mean(1))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))


def compiled(model):
    return torch.compile(model, backend="eager")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 8, generator=generator), torch.randint(4, (16,), generator=generator)


WRAPPERS = {
    "nothing": lambda model: model,
    "data parallel": nn.DataParallel,
    "compiled": compiled,
    "averaged": AveragedModel,
    "data parallel, averaged": lambda model: AveragedModel(nn.DataParallel(model)),
}


@pytest.mark.parametrize("target", WRAPPERS)
@pytest.mark.parametrize("source", WRAPPERS)
def test_a_mask_fits_whatever_the_model_is_wrapped_in(source, target, batch):
    plain = network()
    expected = snip_cli.prune(plain, batch, F.cross_entropy, sparsity=0.5)
    mask = snip_cli.prune(WRAPPERS[source](network()), batch, F.cross_entropy, sparsity=0.5)
    assert all(torch.equal(one, other) for one, other in zip(mask.values(), expected.values(), strict=True))
    wrapped = WRAPPERS[target](network())
    snip_cli.apply_mask(wrapped, mask)
    snip_cli.apply_mask(plain, expected)
    assert all(torch.equal(one, other) for one, other in zip(wrapped.parameters(), plain.parameters(), strict=True))


def test_a_layer_that_is_wrapped_inside_the_model_is_found(batch):
    model = network()
    mask = snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.5)
    model[0] = compiled(model[0])
    snip_cli.apply_mask(model, mask)
    assert not model[0].weight[~mask["0.weight"]].any()


def test_a_part_that_is_called_module_is_no_wrapper():
    model = nn.ModuleDict({"module": nn.Linear(2, 2), "other": nn.ModuleDict({"module": nn.Linear(2, 2)})})
    model.weight = nn.Parameter(torch.ones(2, 2))
    mask = {"module.weight": torch.zeros(2, 2, dtype=torch.bool)}
    snip_cli.apply_mask(model, mask)
    assert not model["module"].weight.any()
    assert model.weight.all()
    with pytest.raises(ConfigError, match=r"does not fit the model at 'other\.weight'"):
        fit(model, {"other.weight": mask["module.weight"]})


def test_a_weight_that_two_layers_share_counts_once_and_is_masked_in_both():
    torch.manual_seed(0)
    model = Tied()
    batch = torch.randint(20, (16, 5)), torch.randint(20, (16,))
    mask = snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.9)
    assert {name: int(keep.sum()) for name, keep in mask.items()} == {"out.weight": 16}
    snip_cli.apply_mask(model, mask)
    assert model.words.weight is model.out.weight
    assert torch.equal(model.words.weight != 0, mask["out.weight"])
    both = {"words.weight": mask["out.weight"], "out.weight": mask["out.weight"]}
    snip_cli.apply_mask(model, both)


def refusal(model, mask):
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(ConfigError) as error:
        snip_cli.apply_mask(model, mask)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)), "half applied"
    return str(error.value)


def test_what_does_not_fit_names_the_first_surplus_and_the_first_missing_parameter():
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    mask = {"0.weight": torch.zeros(8, 8, dtype=torch.bool), "5.weight": torch.zeros(4, 8, dtype=torch.bool)}
    assert refusal(model, mask) == (
        "The mask does not fit the model at '5.weight': the model has no such parameter, and the mask has none for the model's '0.bias'; "
        "apply it to the model that it was made for, or make one for this model with snip_cli.prune."
    )


def test_another_shape_is_named():
    mask = {"0.bias": torch.zeros(8, dtype=torch.bool), "2.weight": torch.zeros(5, 8, dtype=torch.bool)}
    assert "at '2.weight': its shape there is (5, 8), the model's is (4, 8);" in refusal(network(), mask)


def test_a_mask_of_a_part_says_where_it_fits(batch):
    whole = nn.ModuleDict({"body": network(), "head": nn.Linear(4, 4)})
    mask = snip_cli.prune(network(), batch, F.cross_entropy, sparsity=0.5)
    assert re.search(r"fits the model's part 'body': apply it to model\.get_submodule\('body'\)", refusal(whole, mask))
    snip_cli.apply_mask(whole.get_submodule("body"), mask)
    assert not whole["body"][0].weight[~mask["0.weight"]].any()


def test_a_mask_of_a_network_around_the_model_says_so():
    mask = {"net.0.weight": torch.zeros(8, 8, dtype=torch.bool), "net.2.bias": torch.zeros(4, dtype=torch.bool)}
    assert "has this model as its part 'net': apply it to that network, or remove 'net.'" in refusal(network(), mask)


COMPUTED = {
    "masks of torch.nn.utils.prune": (lambda layer: torch_prune.l1_unstructured(layer, "weight", 0.5), "prune.remove"),
    "frozen, with such a mask": (
        lambda layer: torch_prune.l1_unstructured(layer.requires_grad_(False), "weight", 0.5),
        "prune.remove",
    ),
    "weight norm": (nn.utils.weight_norm, "remove_weight_norm"),
    "spectral norm": (nn.utils.spectral_norm, "remove_spectral_norm"),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
@pytest.mark.parametrize("wrap", ["nothing", "data parallel", "compiled"])
@pytest.mark.parametrize("kind", COMPUTED)
def test_a_weight_that_a_hook_computes_is_named_with_the_remedy(kind, wrap, batch):
    mask = snip_cli.prune(network(), batch, F.cross_entropy, sparsity=0.5)
    model = network()
    change, remedy = COMPUTED[kind]
    change(model[2])
    sentence = refusal(WRAPPERS[wrap](model), mask)
    assert re.match(r"The weight of layer '[\w.]*2' is computed from other parameters \(weight_", sentence), sentence
    assert remedy in sentence


def test_a_bias_and_a_recurrent_weight_with_masks_of_torch_are_named_too():
    linear, lstm = nn.Linear(4, 4), nn.LSTM(4, 4)
    torch_prune.random_unstructured(linear, "bias", 0.5)
    torch_prune.random_unstructured(lstm, "weight_hh_l0", 0.5)
    assert "The bias of layer 'Linear'" in refusal(linear, {"bias": torch.zeros(4, dtype=torch.bool)})
    mask = {"weight_hh_l0": torch.zeros(16, 4, dtype=torch.bool)}
    assert "The weight_hh_l0 of layer 'LSTM' is computed from other parameters (weight_hh_l0_orig)" in refusal(
        lstm, mask
    )
