"""Which units of a chain remain, and its gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli.training.choice import find_form
from snip_cli.training.stacked.chain import Chain, linear_gradients
from snip_cli.training.stacked.stack import Stack


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


def mask_of(model, kept):
    """A mask that keeps the named entries alone."""
    mask = {name: torch.zeros(p.shape, dtype=torch.bool) for name, p in model.named_parameters()}
    for name, *place in kept:
        mask[name][tuple(place)] = True
    return mask


def test_a_unit_stays_where_something_reaches_it_and_it_reaches_an_output():
    model = perceptron()
    kept = [
        *(("1.weight", 0, 2), ("3.weight", 1, 0)),  # from input 2 to an output
        ("1.weight", 1, 3),  # reaches no output: unit 1 is dead, and nothing else reads input 3
        ("3.weight", 0, 2),  # nothing reaches unit 2
        *(("1.bias", 3), ("3.weight", 0, 3)),  # no input, but a bias that is trained
    ]
    rows = Chain.of(model).places([mask_of(model, kept)]).rows
    assert rows["1.weight"][0].tolist() == [[0, 3]]
    assert rows["1.weight"][1].tolist() == [[2]]
    assert rows["3.weight"][0].tolist() == [[0, 1]]
    assert rows["3.weight"][1].tolist() == [[0, 3]]


def test_a_replicate_with_fewer_units_keeps_dead_ones_to_be_as_large_as_the_others():
    model = perceptron()
    small, large = [("1.weight", 4, 0), ("3.weight", 0, 4)], []
    for unit in (1, 2, 3):
        large += [("1.weight", unit, unit), ("3.weight", 0, unit)]
    rows = Chain.of(model).places([mask_of(model, small), mask_of(model, large)]).rows
    assert rows["1.weight"][0].tolist() == [[0, 1, 4], [1, 2, 3]]
    assert rows["3.weight"][1].tolist() == [[0, 1, 4], [1, 2, 3]]


def test_a_network_that_is_cut_through_keeps_one_unit_a_layer():
    model = perceptron()
    rows = Chain.of(model).places([mask_of(model, [])]).rows
    assert [len(row[0]) for row in rows["1.weight"]] == [1, 1]


def test_features_are_those_of_channels_that_stay():
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten(), nn.Linear(12, 2))  # images of 3×3: 4 pixels a channel
    kept = [*(("0.weight", c, 0, 0, 0) for c in (0, 2)), *(("2.weight", 0, place) for place in (1, 5, 10))]
    places = Chain.of(model).places([mask_of(model, kept)])
    assert places.rows["0.weight"][0].tolist() == [[0, 2]]
    assert places.rows["2.weight"][1].tolist() == [[1, 10]]  # channel 1, of feature 5, is dead
    assert places.columns["2"].tolist() == [[1, 6]]


@pytest.mark.parametrize("at_once", [1, 3])
def test_convolutions_one_by_one_or_as_groups_of_one(at_once):
    torch.manual_seed(0)
    models = [
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 5, 2),
            nn.Flatten(),
            nn.Linear(20, 2),
        )
        for _ in range(3)
    ]
    weights = {
        name: torch.stack([dict(m.named_parameters())[name] for m in models])
        for name, _ in models[0].named_parameters()
    }
    images = torch.randn(3, 6, 2, 6, 6)
    found = Chain.of(models[0]).convolved(weights, images, at_once)
    for model, given, values in zip(models, images, found, strict=True):
        torch.testing.assert_close(values, model[:4](given), rtol=1e-5, atol=1e-6)


def test_one_relu_may_stand_in_several_places():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), relu, nn.Linear(5, 5), relu, nn.Linear(5, 2))
    kept = [(name, slice(None)) for name, _ in model.named_parameters()]
    images = torch.randn(1, 6, 1, 2, 2)
    with torch.no_grad():
        found = Stack(find_form(model), [model], [mask_of(model, kept)])(images)
        torch.testing.assert_close(found[0], model(images[0]))


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(3, 2),
        nn.Sequential(nn.Linear(3, 2)),
        nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.Sigmoid(), nn.Linear(2, 2)),
        nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.Dropout(), nn.Linear(2, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2)),
        nn.Sequential(nn.Conv2d(2, 2, 3, groups=2), nn.Flatten(), nn.Linear(8, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Flatten(), nn.Linear(8, 2)),
    ],
    ids=lambda model: " ".join(type(layer).__name__ for layer in model.children()) or "layer",
)
def test_what_is_no_such_chain_is_left_alone(model):
    assert Chain.of(model) is None


def test_layers_that_share_a_weight_are_left_alone():
    layer = nn.Linear(3, 3)
    assert find_form(nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer)) is None


def test_a_network_with_a_frozen_layer_is_left_alone():
    model = perceptron()
    model[1].requires_grad_(False)
    assert find_form(model) is None


# Gradients of linear layers, written out, are those of autograd.
SIZES = {
    "plain": [5, "relu", 4, "relu", 3],
    "a linear layer after another": [5, 4, 3],
    "ReLU twice, first and last": ["relu", 5, "relu", "relu", 3, "relu"],
    "one layer": [3],
}
IMAGES, READ = 6, 7


def layers_of(sizes):
    read, layers = READ, []
    for size in sizes:
        layers.append(nn.ReLU() if size == "relu" else nn.Linear(read, size).double())
        read = read if size == "relu" else size
    return layers


def by_autograd(layers, values, labels, smoothing):
    outputs = nn.Sequential(*layers)(values)
    F.cross_entropy(outputs, labels, label_smoothing=smoothing).backward()
    return F.cross_entropy(outputs, labels).detach(), {
        f"{i}.{name}": p.grad for i, layer in enumerate(layers) for name, p in layer.named_parameters()
    }


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_each_replicate_has_the_gradient_of_its_own_mean_loss(sizes, smoothing):
    torch.manual_seed(0)
    networks = [layers_of(sizes) for _ in range(2)]
    values_RBI = torch.randn(2, IMAGES, READ, dtype=torch.float64)
    labels_RB = torch.randint(3, (2, IMAGES))
    expected = [by_autograd(*each, smoothing) for each in zip(networks, values_RBI, labels_RB, strict=True)]
    weights = {
        f"{i}.{name}": torch.stack([parameter.detach(), networks[1][i].get_parameter(name).detach()])
        for i, layer in enumerate(networks[0])
        for name, parameter in layer.named_parameters()
    }
    layers = [(str(i), layer) for i, layer in enumerate(networks[0])]
    losses_R, gradients = linear_gradients(layers, weights, values_RBI, labels_RB, smoothing)
    assert {*gradients} == {*weights}
    for number, (loss, single) in enumerate(expected):
        torch.testing.assert_close(losses_R[number], loss, rtol=0, atol=1e-12)
        for name, gradient in single.items():
            torch.testing.assert_close(gradients[name][number], gradient, rtol=0, atol=1e-12)
