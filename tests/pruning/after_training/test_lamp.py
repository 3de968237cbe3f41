"""LAMP against its definition, written as a double loop."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import snip_cli
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.after_training.lamp import lamp_scores


def by_definition(weight):
    flat = weight.double().flatten().tolist()
    return torch.tensor([w * w / sum(v * v for v in flat if abs(v) >= abs(w)) for w in flat]).view(weight.shape)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e15])
def test_the_score_is_the_square_over_the_squares_that_are_not_smaller(scale):
    weight = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * scale
    torch.testing.assert_close(lamp_scores(weight), by_definition(weight).double(), rtol=1e-6, atol=0)
    assert float(lamp_scores(weight).max()) == 1.0


def test_of_equal_weights_the_earlier_counts_as_larger_and_zeros_have_no_score():
    assert lamp_scores(torch.tensor([[2.0, -2.0], [0.0, 2.0]])).tolist() == [[1, 0.5], [0, pytest.approx(1 / 3)]]
    assert lamp_scores(torch.zeros(2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_the_mask_keeps_the_largest_scores_of_all_layers_and_every_bias(network, batch):
    weights = {name: p.detach() for name, p in prunable_parameters(network).items() if p.dim() > 1}
    scores = torch.cat([lamp_scores(weight).flatten() for weight in weights.values()])
    mask = snip_cli.prune(network, batch, F.cross_entropy, method="lamp", sparsity=0.7)
    assert all(keep.all() for keep in mask.values() if keep.dim() == 1)
    kept = torch.cat([mask[name].flatten() for name in weights])
    assert scores[kept].min() >= scores[~kept].max()


def test_every_layer_keeps_a_weight_where_magnitude_empties_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 20, bias=False), nn.Linear(20, 20, bias=False), nn.Linear(20, 4, bias=False))
    model[1].weight.data *= 1e-6
    batch = torch.randn(4, 20), torch.zeros(4).long()
    masks = {
        method: snip_cli.prune(model, batch, F.cross_entropy, method=method, sparsity=0.99)
        for method in ("lamp", "magnitude")
    }
    assert all(keep.any() for keep in masks["lamp"].values())
    assert not masks["magnitude"]["1.weight"].any()
