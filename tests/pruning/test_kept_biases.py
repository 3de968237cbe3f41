"""Masks that keep every bias, and weights that stay alive behind a mask."""

import pytest
import torch
import torch.nn.functional as F

from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.kept_biases import KeptBiases, prunable_weights, straight_through


def test_weights_and_biases_are_the_prunable_parameters_in_their_order(network):
    weights = {name: torch.zeros_like(w, dtype=torch.bool) for name, w in prunable_weights(network).items()}
    mask = KeptBiases(network).mask(weights)
    assert list(mask) == list(prunable_parameters(network))
    assert all(keep.any() == (name not in weights) for name, keep in mask.items())


@pytest.mark.parametrize("extra", [0, 1, 57])
def test_all_biases_and_the_weights_with_the_largest_scores_are_kept(extra, network):
    kept = sum(p.numel() for p in prunable_parameters(network).values() if p.dim() == 1) + extra
    scores = {name: torch.rand_like(w) - 2 for name, w in prunable_weights(network).items()}
    mask = KeptBiases(network).top(scores, kept)
    assert sum(int(keep.sum()) for keep in mask.values()) == kept
    ranked = torch.cat([score.flatten() for score in scores.values()]).sort(descending=True).values
    for name, score in scores.items():
        assert torch.equal(mask[name], score > ranked[extra])


def test_the_gradient_passes_a_mask_as_if_there_were_none():
    weight = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    keep, inputs = torch.rand(4, 3) < 0.5, torch.randn(5, 3, dtype=torch.float64)
    seen = straight_through(weight, keep)
    assert torch.equal(seen, weight * keep)
    F.linear(inputs, seen).pow(2).sum().backward()
    masked = (weight * keep).detach().requires_grad_()
    F.linear(inputs, masked).pow(2).sum().backward()
    assert torch.equal(weight.grad, masked.grad)
    assert weight.grad[~keep].any()
