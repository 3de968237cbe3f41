"""Connectivity: information times a factor of the same groups' weights."""

import pytest
import torch
from torch import nn

from snip_cli.pruning.after_training.activations import sample_activations
from snip_cli.pruning.after_training.connections import group_pair
from snip_cli.pruning.after_training.layer_pairs import Pair
from snip_cli.pruning.after_training.snacs.acmi import layer_information
from snip_cli.pruning.after_training.snacs.method import connectivity
from snip_cli.pruning.after_training.snacs.phi import PHIS, scaled_weights

CPU = torch.device("cpu")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(96, 3)).double()


def sample():
    images = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return list(zip(images.split(25), (torch.arange(60) % 3).split(25), strict=True))


def scores(model, found, phi):
    activations = sample_activations(model, sample(), [found.pair.parent, found.child])
    weight = model.get_submodule(found.child).weight
    return connectivity(activations, weight, scaled_weights(model)[found.child], found, phi=phi, device=CPU, seed=3)


def information(model, found):
    activations = sample_activations(model, sample(), [found.pair.parent, found.child])
    bounds = {"child_bounds": found.child_bounds, "parent_bounds": found.parent_bounds}
    return layer_information(activations[found.child], activations[found.pair.parent], **bounds, seed=3)


@pytest.mark.parametrize("groups", [0, 3])
@pytest.mark.parametrize(
    ("phi", "factor"),
    [
        ("constant", lambda w, scaled: torch.tensor(1.0)),
        ("weight", lambda w, scaled: scaled.mean()),
        ("weight_sq", lambda w, scaled: scaled.mean() ** 2),
        ("exp_weight", lambda w, scaled: torch.exp(-(scaled.mean() ** 2) / 2)),
        ("magnitude", lambda w, scaled: w.abs().mean()),
    ],
)
def test_a_score_is_the_information_times_the_factor_of_its_own_weights(phi, factor, groups):
    model = network()
    found = group_pair(model, Pair("0", "2"), groups)
    weight, scaled = model[2].weight.detach(), scaled_weights(model)["2"]
    found_GH, information_GH = scores(model, found, phi), information(model, found)
    for g, (first, last) in enumerate(found.child_bounds):
        for h, (start, end) in enumerate(found.parent_bounds):
            block = slice(first, last), slice(start, end)
            expected = factor(weight[block], scaled[block]).double() * information_GH[g, h].clamp_min(0.001)
            torch.testing.assert_close(found_GH[g, h], expected)


def test_without_information_the_larger_weight_still_has_the_higher_score(monkeypatch):
    none_GH = torch.full((6, 4), -0.01, dtype=torch.float64)
    monkeypatch.setattr("snip_cli.pruning.after_training.snacs.method.layer_information", lambda *_, **__: none_GH)
    model = network()
    found = group_pair(model, Pair("0", "2"), 0)
    magnitudes = model[2].weight.detach().abs().mean(dim=(2, 3))
    assert torch.equal(scores(model, found, "magnitude").flatten().argsort(), magnitudes.flatten().argsort())


def test_every_form_gives_a_score_for_every_connection():
    model = network()
    found = group_pair(model, Pair("2", "4"), 3)
    for phi in PHIS:
        found_GH = scores(model, found, phi)
        assert found_GH.shape == (3, 3)
        assert found_GH.dtype == torch.float64
        assert torch.isfinite(found_GH).all()
