"""Scores, limits and protected filters → mask and report."""

import logging

import pytest
import torch
from torch import nn

from snip_cli.pruning.after_training.snacs.choice import prune_connections
from snip_cli.pruning.after_training.snacs.connections import connections
from snip_cli.pruning.after_training.snacs.pairs import Pair

PAIRS = [Pair("0", "1"), Pair("1", "2")]


def pruned(sparsity, limit=0.5, protected=(), scores=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 4))
    found = {pair.child: connections(model, pair, 0) for pair in PAIRS}
    scores = scores or {"1": torch.rand(6, 8), "2": torch.rand(4, 6)}
    groups = {"1": torch.zeros(6, dtype=torch.bool), "2": torch.zeros(4, dtype=torch.bool)}
    groups["1"][list(protected)] = True
    return prune_connections(model, found, scores, {name: {"limit": limit} for name in found}, groups, sparsity)


TOTAL = 5 * 8 + 8 + 8 * 6 + 6 + 6 * 4 + 4


def test_auto_takes_every_layer_to_its_limit():
    made = pruned("auto")
    assert (~made.mask["1.weight"]).sum() == 24
    assert (~made.mask["2.weight"]).sum() == 12
    assert made.facts["sparsity_reached"] == pytest.approx(36 / TOTAL)


def test_a_number_counts_all_parameters_of_the_network():
    made = pruned(0.2)
    assert sum(int((~keep).sum()) for keep in made.mask.values()) == round(0.2 * TOTAL)
    assert made.mask["0.weight"].all()
    assert made.mask["1.bias"].all()


def test_what_the_limits_forbid_is_told_with_what_was_reached(caplog):
    with caplog.at_level(logging.WARNING, "snip_cli"):
        made = pruned(0.9)
    assert made.facts == {
        "sparsity_requested": 0.9,
        "sparsity_reached": pytest.approx(36 / TOTAL),
        "sparsity_reachable": pytest.approx(36 / TOTAL),
    }
    [said] = caplog.messages
    allowed = f"sparsity=0.9 is more than the layers' limits allow, which is {36 / TOTAL:.4f}: pruned to that"
    assert said == f"{allowed} (never pruned: 0)"


def test_a_protected_filter_keeps_all_its_connections():
    made = pruned("auto", limit=0.9, protected=[2, 5])
    assert made.mask["1.weight"][[2, 5]].all()
    assert made.layers["1"]["protected"] == 2


def test_no_filter_loses_its_strongest_connection():
    scores = {"1": torch.rand(6, 8), "2": torch.rand(4, 6)}
    mask = pruned("auto", limit=0.99, scores=scores).mask
    for name, each in scores.items():
        kept = mask[f"{name}.weight"]
        assert kept.sum(dim=1).min() >= 1
        assert all(kept[g, int(each[g].argmax())] for g in range(len(each)))


def test_every_layer_is_told_of():
    layer = pruned("auto", limit=0.75).layers["2"]
    assert layer["limit"] == 0.75
    assert layer["removed"] == pytest.approx(18 / 24)
    assert sum(layer["scores"]["counts"]) == 24
    assert len(layer["scores"]["edges"]) == len(layer["scores"]["counts"]) + 1
