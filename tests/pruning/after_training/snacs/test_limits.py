"""The upper limits: against the plain way, which prunes the network, runs it and asks scikit-learn's classifier."""

import pytest
import torch
from sklearn.svm import SVC
from torch import nn

from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs.activations import channel_means
from snip_cli.pruning.after_training.snacs.connections import connections
from snip_cli.pruning.after_training.snacs.constraints import keep_strongest
from snip_cli.pruning.after_training.snacs.groups import group_bounds
from snip_cli.pruning.after_training.snacs.input_means import input_means
from snip_cli.pruning.after_training.snacs.limits import GRID, connections_limit, layer_limit
from snip_cli.pruning.after_training.snacs.pairs import find_pairs, inputs_per_channel, parent_channels
from snip_cli.pruning.after_training.snacs.weights import group_norms


def network():
    torch.manual_seed(3)
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, bias=False)]
    return nn.Sequential(
        *layers, nn.ReLU(True), nn.Flatten(), nn.Linear(72, 5), nn.ReLU(True), nn.Linear(5, 3)
    ).double()


def sample():
    """90 images of three classes, each brighter in its own corner, in batches."""
    labels = torch.arange(90) % 3
    images = torch.randn(90, 1, 8, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for corner in range(3):
        images[labels == corner, :, 4 * (corner // 2) :, 4 * (corner % 2) :][:, :, :4, :4] += 0.6
    return list(zip(images.split(20), labels.split(20), strict=True)), labels


def norms(model, groups):
    def scores(pair):
        weight = model.get_submodule(pair.child).weight.detach()
        parents = group_bounds(parent_channels(pair, model), groups)
        return group_norms(weight, group_bounds(len(weight), groups), parents, inputs_per_channel(pair, model))

    return scores


def limits_of(model, groups=0, **options):
    batches, labels = sample()
    pairs = find_pairs(model, batches[0][0][:1])
    means, scores = input_means(model, batches, [pair.child for pair in pairs]), norms(model, groups)
    return [
        connections_limit(model, connections(model, pair, groups), scores(pair), means[pair.child], labels, **options)
        for pair in pairs
    ]


def accuracy_by_running(model, pair, scores, groups, fraction):
    """The classifier's accuracy by what the network's hooks give when the connections are zeroed one by one."""
    batches, labels = sample()
    child = model.get_submodule(pair.child)
    original = child.weight.detach().clone()
    learnt = channel_means(model, batches, [pair.child])[pair.child].clamp_min(0)
    keep, each = keep_strongest(scores, fraction), inputs_per_channel(pair, model)
    with torch.no_grad():
        for j, (first, last) in enumerate(group_bounds(len(original), groups)):
            for i, (start, end) in enumerate(group_bounds(parent_channels(pair, model), groups)):
                if not keep[j, i]:
                    child.weight[first:last, start * each : end * each] = 0
        asked = channel_means(model, batches, [pair.child])[pair.child].clamp_min(0)
        child.weight.copy_(original)
    found = SVC(random_state=0, tol=1e-5).fit(learnt.numpy(), labels.numpy()).predict(asked.numpy())
    return float((found == labels.numpy()).mean())


@pytest.mark.parametrize("groups", [0, 3])
def test_the_accuracies_are_those_of_the_network_pruned_and_run(groups):
    model, (batches, _) = network(), sample()
    pairs = find_pairs(model, batches[0][0][:1])
    assert [pair.child for pair in pairs] == ["3", "6", "8"]
    for pair, found in zip(pairs, limits_of(model, groups), strict=True):
        scores = norms(model, groups)(pair)
        assert found.name == pair.child
        assert found.grid == GRID
        for place in (0, 7, 12, 19):
            expected = accuracy_by_running(model, pair, scores, groups, GRID[place])
            assert found.accuracy[place] == pytest.approx(expected, abs=1e-12)
        assert found.unpruned == pytest.approx(accuracy_by_running(model, pair, scores, groups, 0.0), abs=1e-12)


def test_the_limit_is_the_largest_fraction_at_which_the_accuracy_has_not_fallen_too_far():
    for slack in (0.0, 0.3, 0.7, 1.0):
        for found in limits_of(network(), slack=slack):
            high, low = max(found.accuracy), min(found.accuracy)
            within = [p for p, a in zip(found.grid, found.accuracy, strict=True) if a >= high - slack * (high - low)]
            assert found.limit == min(within[-1], 1 - 1 / {"3": 6, "6": 8, "8": 5}[found.name])


def test_a_limit_says_which_constraint_set_it():
    # The last layer has five inputs, so that at least a fifth of its connections stays.
    by_name = {found.name: found for found in limits_of(network(), slack=1.0)}
    assert (by_name["8"].limit, by_name["8"].bound_by) == (0.8, "connected")
    assert {found.bound_by for found in limits_of(network(), slack=0.0, grid=(0.1, 0.4, 0.7))} <= {"accuracy", "grid"}
    assert limits_of(network(), slack=1.0, grid=(0.1, 0.5))[0].bound_by == "grid"


def test_where_nothing_depends_on_the_layer_its_limit_is_the_end_of_the_grid():
    model = network()
    nn.init.zeros_(model[6].weight)
    assert limits_of(model, grid=(0.1, 0.5, 0.8))[1].limit == 0.8


def test_the_model_is_left_as_it_was():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    limits_of(model)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "options",
    [{"grid": ()}, {"grid": (0.5, 0.1)}, {"grid": (0.0, 0.5)}, {"grid": (0.5, 1.0)}, {"slack": -0.1}, {"slack": 1.1}],
)
def test_a_grid_or_a_slack_out_of_range_is_refused(options):
    weight, bounds = torch.ones(2, 2), group_bounds(2, 0)
    with pytest.raises(ConfigError, match=r"^method\.limit_(grid|slack)"):
        layer_limit(
            "layer", weight, torch.ones(4, 2, 1), weight, None, torch.arange(4) % 2,
            child_bounds=bounds, parent_bounds=bounds, **options,
        )  # fmt: skip
