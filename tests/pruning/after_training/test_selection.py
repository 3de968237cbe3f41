"""The choice of connections, against a plain loop and case by case, and the report."""

import logging

import pytest
import torch
from torch import nn

from snip_cli.pruning.after_training.connections import group_pair
from snip_cli.pruning.after_training.layer_pairs import Pair
from snip_cli.pruning.after_training.selection import ScoredLayer, prune_connections, select


def layer(scores, weights=None, limit=1.0, spared=(), protected=()):
    scores = torch.tensor(scores, dtype=torch.float64)
    marks = {"spared": spared, "protected": protected}
    masks = {name: torch.zeros(scores.shape, dtype=torch.bool) for name in marks}
    for name, places in marks.items():
        for place in places:
            masks[name][place] = True
    counts = torch.ones(scores.shape, dtype=torch.int64) if weights is None else torch.tensor(weights)
    return ScoredLayer(scores, counts, limit, **masks)


def plainly(layers, at_most):
    """Remove connections by rising score while the layer's limit and the total allow the next one."""
    gone = dict.fromkeys(layers, 0)
    closed = dict.fromkeys(layers, False)
    kept = {name: torch.ones(each.scores.shape, dtype=torch.bool) for name, each in layers.items()}
    order = sorted(
        (float(each.scores[g, h]), number, g, h, name)
        for number, (name, each) in enumerate(layers.items())
        for g in range(each.scores.shape[0])
        for h in range(each.scores.shape[1])
        if not each.spared[g, h]
    )
    total = 0
    for _, _, g, h, name in order:
        weight = int(layers[name].weights[g, h])
        if closed[name]:
            continue
        if gone[name] + weight > layers[name].limit * int(layers[name].weights.sum()) + 1e-9:
            closed[name] = True
            continue
        if layers[name].protected[g, h]:  # counts as if it went
            gone[name] += weight
            continue
        if at_most is not None and total + weight > at_most:
            break
        gone[name], total = gone[name] + weight, total + weight
        kept[name][g, h] = False
    return kept


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("at_most", [None, 0, 10, 40, 10_000])
def test_it_is_the_plain_loop(seed, at_most):
    draws = torch.Generator().manual_seed(seed)
    layers = {
        name: ScoredLayer(
            torch.randint(8, shape, generator=draws).double(),  # many equal scores
            torch.full(shape, 1 + seed % 3),
            0.1 + 0.3 * number,
            torch.rand(shape, generator=draws) < 0.2,
            torch.rand(shape, generator=draws) < 0.2,
        )
        for number, (name, shape) in enumerate({"a": (3, 4), "b": (5, 2), "c": (4, 6)}.items())
    }
    found, wanted = select(layers, at_most), plainly(layers, at_most)
    assert all(torch.equal(found[name], wanted[name]) for name in layers)


def test_one_threshold_holds_for_all_layers():
    kept = select({"a": layer([[1.0, 5.0]]), "b": layer([[2.0, 6.0]])}, at_most=2)
    assert kept["a"].tolist() == [[False, True]]
    assert kept["b"].tolist() == [[False, True]]


def test_a_layer_stops_at_its_limit_and_others_go_on():
    kept = select({"a": layer([[1.0, 2.0, 3.0, 4.0]], limit=0.5), "b": layer([[5.0, 6.0]])}, at_most=3)
    assert kept["a"].tolist() == [[False, False, True, True]]
    assert kept["b"].tolist() == [[False, True]]


def test_auto_prunes_every_layer_to_its_limit():
    kept = select({"a": layer([[1.0, 2.0, 3.0, 4.0]], limit=0.5), "b": layer([[9.0, 8.0]], limit=0.5)}, None)
    assert [int((~each).sum()) for each in kept.values()] == [2, 1]


def test_a_limit_counts_weights_not_connections():
    kept = select({"a": layer([[1.0, 2.0]], weights=[[3, 1]], limit=0.5)}, None)
    assert kept["a"].all()


def test_what_is_spared_stays_though_it_scores_lowest():
    kept = select({"a": layer([[0.0, 1.0], [2.0, 3.0]], spared=[(0, 0)])}, at_most=3)
    assert kept["a"].tolist() == [[True, False], [False, False]]


def test_others_do_not_go_in_the_place_of_what_is_protected():
    kept = select({"a": layer([[0.0, 1.0], [2.0, 3.0]], limit=0.5, protected=[(0, 0)])}, None)
    assert kept["a"].tolist() == [[True, False], [True, True]]


def test_of_equal_scores_the_earlier_goes_first():
    kept = select({"a": layer([[1.0, 1.0]]), "b": layer([[1.0, 1.0]])}, at_most=3)
    assert kept["a"].tolist() == [[False, False]]
    assert kept["b"].tolist() == [[False, True]]


PAIRS = [Pair("0", "1"), Pair("1", "2")]


def pruned(sparsity, limit=0.5, protected=(), scores=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 4))
    grouped = {pair.child: group_pair(model, pair, 0) for pair in PAIRS}
    scores = scores or {"1": torch.rand(6, 8), "2": torch.rand(4, 6)}
    groups = {"1": torch.zeros(6, dtype=torch.bool), "2": torch.zeros(4, dtype=torch.bool)}
    groups["1"][list(protected)] = True
    return prune_connections(model, grouped, scores, {name: {"limit": limit} for name in grouped}, groups, sparsity)


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


def test_a_warning_says_what_was_reached_if_the_limits_do_not_allow_the_sparsity(caplog):
    with caplog.at_level(logging.WARNING, "snip_cli"):
        made = pruned(0.9)
    assert made.facts == {
        "sparsity_requested": 0.9,
        "sparsity_reached": pytest.approx(36 / TOTAL),
        "sparsity_reachable": pytest.approx(36 / TOTAL),
    }
    [said] = caplog.messages
    reached = f"pruned to {36 / TOTAL:.4f} (never pruned: 0)"
    assert said == f"sparsity=0.9 is more than the layers' limits allow: {reached}"


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


def test_every_layer_is_reported():
    layer = pruned("auto", limit=0.75).layers["2"]
    assert layer["limit"] == 0.75
    assert layer["removed"] == pytest.approx(18 / 24)
    assert sum(layer["scores"]["counts"]) == 24
    assert len(layer["scores"]["edges"]) == len(layer["scores"]["counts"]) + 1
