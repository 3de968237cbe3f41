"""Iterative SNIP and FORCE: one round is SNIP, and several are the loop written out."""

import copy

import pytest
import torch
import torch.nn.functional as F

import snip_cli
from snip_cli.errors import RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.at_init.rounds import exponential_counts
from snip_cli.pruning.at_init.sensitivity import connection_sensitivity
from tests.pruning.states import equal

both = pytest.mark.parametrize("method", ["iter_snip", "force"])


@both
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("batches", [1, 3])
def test_one_round_equals_snip(method, sparsity, batches, network, batch):
    given = [tuple(part[number::batches] for part in batch) for number in range(batches)]
    expected = snip_cli.prune(network, given, F.cross_entropy, method="snip", sparsity=sparsity)
    found = snip_cli.prune(network, given, F.cross_entropy, method=method, sparsity=sparsity, rounds=1)
    assert equal(found, expected)


def masks_of_rounds(network, batch, method, sparsity, rounds):
    """The mask of every round, by the definition: sorted scores of a copy with what is pruned set to zero."""
    total = sum(p.numel() for p in prunable_parameters(network).values())
    kept = round(total * (1 - sparsity))
    dense = {name: p.detach() for name, p in prunable_parameters(network).items()}
    masks = [{name: torch.ones_like(w, dtype=torch.bool) for name, w in dense.items()}]
    for number in range(1, rounds + 1):
        count = round(total * (kept / total) ** (number / rounds))
        model = copy.deepcopy(network)
        for name, parameter in prunable_parameters(model).items():
            parameter.data *= masks[-1][name]
        if method == "iter_snip":
            scores = connection_sensitivity(model, batch, F.cross_entropy)
            scores = {name: torch.where(masks[-1][name], score, -1.0) for name, score in scores.items()}
        else:
            model.train()
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()
            loss = F.cross_entropy(model(batch[0]), batch[1])
            slopes = torch.autograd.grad(loss, list(prunable_parameters(model).values()))
            scores = {name: (w * slope).abs() for (name, w), slope in zip(dense.items(), slopes, strict=True)}
        flat = torch.cat([score.flatten() for score in scores.values()])
        keep = torch.zeros(total, dtype=torch.bool)
        keep[flat.argsort(descending=True, stable=True)[:count]] = True
        parts = keep.split([w.numel() for w in dense.values()])
        masks.append({name: part.view_as(w) for (name, w), part in zip(dense.items(), parts, strict=True)})
    return masks[1:]


@both
@pytest.mark.parametrize("rounds", [2, 5])
def test_rounds_equal_the_loop_written_out(method, rounds, network, batch):
    masks = masks_of_rounds(network, batch, method, 0.9, rounds)
    found = snip_cli.prune(network, batch, F.cross_entropy, method=method, sparsity=0.9, rounds=rounds)
    assert equal(found, masks[-1])
    one = snip_cli.prune(network, batch, F.cross_entropy, method="snip", sparsity=0.9)
    assert not equal(found, one)


def test_a_removed_connection_comes_back_with_force_alone(network, batch):
    for method, returns in (("iter_snip", False), ("force", True)):
        masks = masks_of_rounds(network, batch, method, 0.9, 5)
        back = [bool((masks[n + 1][name] & ~masks[n][name]).any()) for n in range(4) for name in masks[0]]
        assert any(back) is returns


@both
def test_a_network_that_a_round_has_cut_off_cannot_be_ranked_further(method, batch):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.ReLU(), torch.nn.Linear(10, 4))
    model = model.double()
    torch.nn.init.zeros_(model[3].weight)
    torch.nn.init.zeros_(model[3].bias)
    with pytest.raises(RunError, match="Every saliency is zero"):
        snip_cli.prune(model, batch, F.cross_entropy, method=method, sparsity=0.9)


def test_every_round_keeps_the_same_share_of_the_round_before():
    counts = exponential_counts(1_000_000, 1_000, 60)
    assert len(counts) == 60 and counts[-1] == 1_000
    shares = [after / before for before, after in zip([1_000_000, *counts], counts, strict=False)]
    assert shares == pytest.approx([0.001 ** (1 / 60)] * 60, rel=1e-3)
    assert exponential_counts(10, 0, 3) == [0, 0, 0]
    assert exponential_counts(10, 10, 3) == [10, 10, 10]
    assert exponential_counts(10, 4, 1) == [4]
