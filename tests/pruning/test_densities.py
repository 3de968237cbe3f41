"""Layer densities at exact κ, and the random masks of erk and uniform that have them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import snip_cli
from snip_cli.models.lenet import lenet_5_caffe, lenet_300_100
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.densities import erdos_renyi_kernel, random_mask, uniform, weight_counts_of, whole_counts
from tests.pruning.states import equal

both = pytest.mark.parametrize("rule", ["erk", "uniform"])
MODELS = {"300_100": lenet_300_100, "5_caffe": lenet_5_caffe}


@pytest.fixture(params=MODELS)
def parameters(request):
    with torch.device("meta"):
        return prunable_parameters(MODELS[request.param]((1, 28, 28), 10))


def shapes_of(parameters):
    return {name: p.shape for name, p in parameters.items() if p.dim() > 1}


@pytest.mark.parametrize("sparsity", [0.0, 0.2, 0.5, 0.9, 0.98, 0.995, 0.9999])
def test_the_kernel_densities_are_those_of_the_formula_with_an_epsilon_found_by_bisection(sparsity, parameters):
    shapes = shapes_of(parameters)
    kept = round(sum(shape.numel() for shape in shapes.values()) * (1 - sparsity))

    def densities(epsilon):
        return {name: min(1.0, epsilon * sum(shape) / shape.numel()) for name, shape in shapes.items()}

    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        count = sum(density * shapes[name].numel() for name, density in densities(middle).items())
        low, high = (middle, high) if count < kept else (low, middle)
    assert erdos_renyi_kernel(shapes, kept) == pytest.approx(densities(high), rel=1e-9)


def test_the_densities_of_lenet_300_100_at_98_percent():
    """By hand: 4,922 weights of 266,200; raw densities 1084/235200, 400/30000 and 110/1000."""
    with torch.device("meta"):
        parameters = prunable_parameters(lenet_300_100((1, 28, 28), 10))
    epsilon = 4922 / (1084 + 400 + 110)
    expected = {"fc1.weight": 1084 * epsilon, "fc2.weight": 400 * epsilon, "fc3.weight": 110 * epsilon}
    counts = weight_counts_of(parameters, 5332, "erk")
    assert counts == {"fc1.weight": 3347, "fc2.weight": 1235, "fc3.weight": 340}
    assert all(abs(counts[name] - count) < 1 for name, count in expected.items())


@both
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.9, 0.98, 0.9983])
def test_the_counts_add_up_to_exactly_kappa_and_never_exceed_a_layer(rule, sparsity, parameters):
    total = sum(p.numel() for p in parameters.values())
    biases = sum(p.numel() for p in parameters.values() if p.dim() == 1)
    kept = max(round(total * (1 - sparsity)), biases)
    counts = weight_counts_of(parameters, kept, rule)
    assert sum(counts.values()) + biases == kept
    shapes = shapes_of(parameters)
    densities = (erdos_renyi_kernel if rule == "erk" else uniform)(shapes, kept - biases)
    assert all(0 <= counts[name] <= shapes[name].numel() for name in shapes)
    assert all(abs(counts[name] - densities[name] * shapes[name].numel()) < 1 for name in shapes)


def test_whole_counts_round_the_largest_remainders_up():
    assert whole_counts({"a": 1.5, "b": 2.7, "c": 0.8}, {"a": 9, "b": 9, "c": 9}, 5) == {"a": 1, "b": 3, "c": 1}
    assert whole_counts({"a": 1.5, "b": 2.7, "c": 0.8}, {"a": 9, "b": 2, "c": 9}, 5) == {"a": 2, "b": 2, "c": 1}


@both
def test_the_mask_of_the_method_has_these_counts_and_every_bias(rule, network, batch):
    parameters = prunable_parameters(network)
    kept = round(sum(p.numel() for p in parameters.values()) * 0.4)
    mask = snip_cli.prune(network, batch, F.cross_entropy, method=rule, sparsity=0.6)
    weights = {name: int(keep.sum()) for name, keep in mask.items() if keep.dim() > 1}
    assert weights == weight_counts_of(parameters, kept, rule)
    assert all(keep.all() for keep in mask.values() if keep.dim() == 1)


@both
def test_every_place_of_a_layer_is_as_likely(rule, network):
    parameters = prunable_parameters(network)
    kept = round(sum(p.numel() for p in parameters.values()) * 0.4)
    masks = [random_mask(parameters, kept, rule, torch.Generator().manual_seed(seed)) for seed in range(200)]
    for name, count in weight_counts_of(parameters, kept, rule).items():
        share = torch.stack([mask[name] for mask in masks]).double().mean(dim=0)
        # The share of masks that keep a connection has a standard deviation of at most 0.036.
        assert (share - count / share.numel()).abs().max() < 5 * 0.036


@both
def test_a_layer_of_ones_own_choice_is_all_there_is(rule):
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    batch = torch.randn(4, 8), torch.zeros(4).long()
    mask = snip_cli.prune(model, batch, F.cross_entropy, method=rule, sparsity=0.5, prunable=["1.weight"])
    assert {name: int(keep.sum()) for name, keep in mask.items()} == {"1.weight": 16}
    mask = snip_cli.prune(model, batch, F.cross_entropy, method=rule, sparsity=0.0, prunable=["*.bias"])
    assert {name: int(keep.sum()) for name, keep in mask.items()} == {"0.bias": 8, "1.bias": 4}


def test_the_same_generator_draws_the_same_mask(parameters):
    masks = [random_mask(parameters, 5000, "erk", torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert equal(masks[0], masks[1]) and not equal(masks[0], masks[2])
