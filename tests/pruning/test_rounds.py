"""What every registered method that prunes in rounds must do, on every small network, with its default options."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F

from snip_cli import registry
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import kept_count
from snip_cli.pruning.method import Request, find_method
from tests.pruning.states import disturb, equal, state_of

every_method = pytest.mark.parametrize(
    "method", [name for name in registry.methods.names() if find_method(name).rounds is not None]
)


def sparsities(network, name, last):
    """The sparsities of all rounds, found without weights, as a run finds them; a network that a run refuses is skipped."""
    method, weightless = find_method(name), copy.deepcopy(network).to("meta")
    if method.check is not None:
        try:
            method.check(weightless, torch.empty(1, 1, 8, 8, dtype=torch.float64, device="meta"), method.options())
        except ConfigError as refusal:
            pytest.skip(str(refusal))
    return [*method.rounds(weightless, last, method.options()), last]


def round_mask(model, batch, name, sparsity, previous=None):
    method = find_method(name)
    request = Request(sparsity, torch.Generator().manual_seed(3), previous=previous)
    return method.function(model, [batch], F.cross_entropy, request, method.options()).mask


def chain(network, batch, name, last):
    """The mask of every round; before each, all weights change as in a training between the rounds."""
    masks, model = [], copy.deepcopy(network)
    generator = torch.Generator().manual_seed(5)
    for sparsity in sparsities(network, name, last):
        for parameter in model.parameters():
            parameter.data += torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        masks.append(round_mask(model, batch, name, sparsity, masks[-1] if masks else None))
    return masks


@every_method
@pytest.mark.parametrize("last", [0.05, 0.5, 0.8])
def test_every_round_is_sparser_than_the_one_before(method, last, network):
    found = sparsities(network, method, last)
    assert all(0 < sparsity < 1 for sparsity in found)
    assert all(before < after for before, after in itertools.pairwise(found))


@every_method
@pytest.mark.parametrize("last", [0.05, 0.5, 0.8])
def test_every_round_keeps_exactly_kappa_and_brings_no_weight_back(method, last, network, batch):
    masks = chain(network, batch, method, last)
    total = sum(p.numel() for p in prunable_parameters(network).values())
    expected = [kept_count(total, sparsity) for sparsity in sparsities(network, method, last)]
    assert [sum(int(keep.sum()) for keep in mask.values()) for mask in masks] == expected
    for before, after in itertools.pairwise(masks):
        assert not any((after[name] & ~before[name]).any() for name in after)


@every_method
def test_every_mask_is_bool_and_has_the_shape_of_every_prunable_parameter(method, network, batch):
    expected = {name: p.shape for name, p in prunable_parameters(network).items()}
    for mask in chain(network, batch, method, 0.8):
        assert list(mask) == list(expected)
        assert {name: keep.shape for name, keep in mask.items()} == expected
        assert all(keep.dtype == torch.bool for keep in mask.values())


@every_method
def test_the_same_generator_gives_the_same_masks_whatever_the_global_one_holds(method, network, batch):
    chains = []
    for seed in range(2):
        torch.manual_seed(seed)
        chains.append(chain(network, batch, method, 0.8))
    assert all(equal(one, two) for one, two in zip(*chains, strict=True))


@every_method
def test_a_round_leaves_model_batch_mask_and_global_generator_alone(method, network, batch):
    first, second, *_ = sparsities(network, method, 0.8)
    previous = round_mask(network, batch, method, first)
    disturb(network)
    (tensors, flags), random_state = state_of(network), torch.get_rng_state()
    batch_before, mask_before = copy.deepcopy((batch, previous))
    round_mask(network, batch, method, second, previous)
    tensors_after, flags_after = state_of(network)
    assert flags_after == flags
    assert equal(tensors_after, tensors)
    assert equal(previous, mask_before)
    assert all(torch.equal(now, then) for now, then in zip(batch, batch_before, strict=True))
    assert torch.equal(torch.get_rng_state(), random_state)
