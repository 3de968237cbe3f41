"""The upper limits, against a plain version (prune the network, run it, classify with scikit-learn), and the constraints."""

import itertools

import pytest
import torch
from sklearn.svm import SVC
from torch import nn

from snip_cli.pruning.after_training.activations import channel_means
from snip_cli.pruning.after_training.connections import group_pair
from snip_cli.pruning.after_training.layer_pairs import find_pairs
from snip_cli.pruning.after_training.selection import strongest_connections
from snip_cli.pruning.after_training.snacs import limits
from snip_cli.pruning.after_training.snacs.limits import (
    GRID,
    LayerLimit,
    ProbedLayer,
    find_limits,
    highest_connected,
    keep_strongest,
    layer_limit,
    probe_layer,
    without_chance,
)
from snip_cli.pruning.after_training.snacs.probe import input_means


def network():
    torch.manual_seed(3)
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, bias=False)]
    return nn.Sequential(
        *layers, nn.ReLU(True), nn.Flatten(), nn.Linear(72, 5), nn.ReLU(True), nn.Linear(5, 3)
    ).double()


def sample():
    """Return 90 images of three classes, each brighter in its own corner, in batches, and their labels."""
    labels = torch.arange(90) % 3
    images = torch.randn(90, 1, 8, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for corner in range(3):
        images[labels == corner, :, 4 * (corner // 2) :, 4 * (corner % 2) :][:, :, :4, :4] += 0.6
    return list(zip(images.split(20), labels.split(20), strict=True)), labels


def grouped_pairs(model, groups):
    return [group_pair(model, pair, groups) for pair in find_pairs(model, sample()[0][0][0][:1])]


def norms(model, grouped):
    """Return the Euclidean norm of each connection's weights."""
    return grouped.block_sums(model.get_submodule(grouped.child).weight.detach().square()).sqrt()


def probed_of(model, groups=0):
    batches, labels = sample()
    found = grouped_pairs(model, groups)
    means = input_means(model, batches, [each.child for each in found])
    return [probe_layer(model, each, norms(model, each), means[each.child], labels) for each in found]


def limits_of(model, groups=0, slack=0.7):
    found = zip(grouped_pairs(model, groups), probed_of(model, groups), strict=True)
    return [layer_limit(probed, norms(model, each), slack=slack) for each, probed in found]


def accuracy_by_running(model, grouped, fraction):
    """Return the classifier's accuracy on the network's outputs after the connections were set to zero one by one."""
    batches, labels = sample()
    child = model.get_submodule(grouped.child)
    original = child.weight.detach().clone()
    learned = channel_means(model, batches, [grouped.child])[grouped.child].clamp_min(0)
    keep, each = keep_strongest(norms(model, grouped), fraction), grouped.inputs
    with torch.no_grad():
        for j, (first, last) in enumerate(grouped.child_bounds):
            for i, (start, end) in enumerate(grouped.parent_bounds):
                if not keep[j, i]:
                    child.weight[first:last, start * each : end * each] = 0
        asked = channel_means(model, batches, [grouped.child])[grouped.child].clamp_min(0)
        child.weight.copy_(original)
    found = SVC(random_state=0, tol=1e-5).fit(learned.numpy(), labels.numpy()).predict(asked.numpy())
    return float((found == labels.numpy()).mean())


@pytest.mark.parametrize("groups", [0, 3])
def test_the_accuracies_are_those_of_the_network_pruned_and_run(groups):
    model = network()
    pairs = grouped_pairs(model, groups)
    assert [each.child for each in pairs] == ["3", "6", "8"]
    for each, found in zip(pairs, probed_of(model, groups), strict=True):
        assert found.name == each.child
        assert found.grid == list(GRID)
        for place in (0, 7, 12, 19):
            expected = accuracy_by_running(model, each, GRID[place])
            assert found.accuracy[place] == pytest.approx(expected, abs=1e-12)
        assert found.unpruned == pytest.approx(accuracy_by_running(model, each, 0.0), abs=1e-12)


def test_the_limit_is_the_largest_fraction_at_which_the_accuracy_has_not_fallen_too_far():
    for slack in (0.0, 0.3, 0.7, 1.0):
        for found, probed in zip(limits_of(network(), slack=slack), probed_of(network()), strict=True):
            high, low = max(probed.accuracy), min(probed.accuracy)
            within = [p for p, a in zip(probed.grid, probed.accuracy, strict=True) if a >= high - slack * (high - low)]
            assert found.limit == min(within[-1], 1 - 1 / {"3": 6, "6": 8, "8": 5}[found.name])


def test_a_limit_says_which_constraint_set_it(monkeypatch):
    # The last layer has five inputs, so that at least a fifth of its connections stays.
    by_name = {found.name: found for found in limits_of(network(), slack=1.0)}
    assert (by_name["8"].limit, by_name["8"].bound_by) == (0.8, "connected")
    monkeypatch.setattr(limits, "GRID", (0.1, 0.4, 0.7))
    assert {found.bound_by for found in limits_of(network(), slack=0.0)} <= {"accuracy", "grid"}
    monkeypatch.setattr(limits, "GRID", (0.1, 0.5))
    assert limits_of(network(), slack=1.0)[0].bound_by == "grid"


def test_where_nothing_depends_on_the_layer_its_limit_is_the_end_of_the_grid(monkeypatch):
    monkeypatch.setattr(limits, "GRID", (0.1, 0.5, 0.8))
    model = network()
    nn.init.zeros_(model[6].weight)
    assert limits_of(model)[1].limit == 0.8


def by_chance(limits, blind, connections=(3, 10)):
    """Limits without chance of layers a, b, …, whose scores have so many rows and columns; `blind` names some, as in "bd"."""
    found = {name: LayerLimit(name, limit, "accuracy") for name, limit in zip("abcde", limits, strict=False)}
    scores = {name: torch.ones(*connections) for name in found}
    return [(each.limit, each.bound_by, each.by_chance) for each in without_chance(found, scores, list(blind)).values()]


@pytest.mark.parametrize(
    ("blind", "expected"),
    [
        ("", {}),
        ("c", {2: 0.3}),  # between 0.6 and 0.3
        ("bc", {1: 0.3, 2: 0.3}),  # between 0.5 and 0.3
        ("a", {0: 0.6}),  # only the layer after it is known
        ("de", {3: 0.9, 4: 0.9}),  # only the one before them is, and `connected` allows exactly as much
    ],
)
def test_a_limit_by_chance_is_replaced_by_the_lower_one_of_the_nearest_known_layers(blind, expected):
    found = by_chance([0.5, 0.6, 0.9, 0.3, 0.1], blind)
    limits = [0.5, 0.6, 0.9, 0.3, 0.1]
    for number, (limit, bound_by, chance) in enumerate(found):
        if number in expected:
            assert (limit, bound_by, chance) == (expected[number], "neighbours", limits[number])
        else:
            assert (limit, bound_by, chance) == (limits[number], "accuracy", None)


def test_the_limit_of_other_layers_stays_connected():
    assert by_chance([0.9, 0.1], "b", connections=(2, 4))[1] == (0.75, "neighbours", 0.1)


def test_where_chance_sets_every_limit_nothing_may_be_removed(caplog):
    assert by_chance([0.5, 0.6], "ab") == [(0.0, "none", 0.5), (0.0, "none", 0.6)]
    seen = {"a": ProbedLayer("a", [0.2, 0.4], [0.1, 0.1], 0.1)}
    assert find_limits(seen, {"a": torch.ones(1, 10)}, slack=0.5, guessing=0.1)["a"]["limit"] == 0
    assert caplog.messages[0].endswith("guessing; there are no other layers, so nothing is removed")


@pytest.mark.parametrize(("unpruned", "blind"), [(0.1, True), (0.1449, True), (0.1451, False), (0.05, True)])
def test_chance_sets_a_limit_below_a_twentieth_of_the_way_from_guessing_to_all(unpruned, blind):
    assert ProbedLayer("a", [0.5], [0.1], unpruned).is_blind(0.1) is blind


def test_the_record_of_a_limit_holds_what_the_probe_saw_and_what_chance_would_have_set():
    seen = {"a": ProbedLayer("a", [0.2, 0.4], [0.9, 0.5], 0.9), "b": ProbedLayer("b", [0.2, 0.4], [0.1, 0.1], 0.1)}
    found = find_limits(seen, {name: torch.ones(1, 10) for name in seen}, slack=0.5, guessing=0.1)
    shared = {"grid": [0.2, 0.4]}
    assert found == {
        "a": {"name": "a", "limit": 0.2, "bound_by": "accuracy", "accuracy": [0.9, 0.5], "unpruned": 0.9, **shared},
        "b": {"name": "b", "limit": 0.2, "bound_by": "neighbours", "by_chance": 0.4, "accuracy": [0.1, 0.1]}
        | {"unpruned": 0.1, **shared},
    }


def test_the_model_is_left_as_it_was():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    limits_of(model)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def random_scores(seed, children=5, parents=4):
    return torch.rand(children, parents, generator=torch.Generator().manual_seed(seed))


def tied_scores(seed, children=5, parents=4):
    return torch.randint(3, (children, parents), generator=torch.Generator().manual_seed(seed)).float()


def kept_by_sorting(scores, fraction):
    """Remove the weakest connections, of equal ones the later, except each child's strongest, until enough are removed."""
    rows = scores.tolist()
    places = [(j, i) for j, row in enumerate(rows) for i in range(len(row))]
    spared = {(j, max(range(len(row)), key=lambda i, row=row: (row[i], -i))) for j, row in enumerate(rows)}
    weakest_first = sorted(
        (place for place in places if place not in spared), key=lambda p: (rows[p[0]][p[1]], -p[0], -p[1])
    )
    pruned = set(weakest_first[: round(fraction * len(places))])
    return [[(j, i) not in pruned for i in range(len(row))] for j, row in enumerate(rows)]


@pytest.mark.parametrize("make", [random_scores, tied_scores])
@pytest.mark.parametrize("seed", range(5))
def test_the_weakest_go_but_each_childs_strongest_stays(make, seed):
    scores = make(seed)
    for fraction in (0, 0.01, 0.06, 0.33, 0.5, 0.75, 0.8, 0.96):
        assert keep_strongest(scores, fraction).tolist() == kept_by_sorting(scores, fraction)


def test_no_layer_is_emptied_and_no_child_is_cut_off_however_much_is_asked_for():
    for children, parents in ((1, 1), (3, 1), (1, 7), (4, 6)):
        keep = keep_strongest(random_scores(0, children, parents), 0.999)
        assert keep.any(dim=1).all()


def test_scores_that_leave_out_a_child_altogether_still_leave_it_one():
    scores = random_scores(1)
    scores[2] = 0.0  # a dead filter
    assert keep_strongest(scores, 0.75)[2].tolist() == [True, False, False, False]


def test_the_highest_fraction_is_where_each_child_has_one_connection():
    scores = random_scores(3)
    assert int(keep_strongest(scores, highest_connected(scores)).sum()) == 5
    assert torch.equal(keep_strongest(scores, highest_connected(scores)), strongest_connections(scores))


def test_the_network_stays_connected_from_its_inputs_to_every_output():
    widths = [3, 6, 4, 8, 2]
    for seed in range(20):
        reached = torch.ones(widths[0], dtype=torch.bool)
        for layer, (parents, children) in enumerate(itertools.pairwise(widths)):
            keep = keep_strongest(random_scores(100 * seed + layer, children, parents), 0.96)
            reached = torch.stack([(row & reached).any() for row in keep])
        assert reached.all()
