"""The hash estimator: equal to its plain form, correct on Gaussians, and independent of order, scale and blocks."""

import math
from itertools import pairwise
from statistics import fmean

import pytest
import torch

from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs import acmi
from snip_cli.pruning.after_training.snacs.acmi import few_samples, layer_information, run_in_threads
from snip_cli.pruning.after_training.snacs.buckets import draw_ensemble
from snip_cli.pruning.after_training.snacs.phi import ACTIVATION_FACTORS, BucketFactor
from tests.pruning.after_training.snacs.gaussian import gaussian, information
from tests.pruning.after_training.snacs.plain import plain_pair

CPU = torch.device("cpu")
CHILD_BOUNDS = [(0, 3), (3, 6), (6, 7)]
PARENT_BOUNDS = [(0, 4), (4, 8), (8, 9)]


def layer(samples: int = 300, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a child layer of 7 channels and its parent layer of 9 dependent channels."""
    generator = torch.Generator().manual_seed(seed)
    parent = torch.randn(samples, 9, generator=generator) @ torch.randn(9, 9, generator=generator) + 2
    child = parent @ torch.randn(9, 7, generator=generator) + torch.randn(samples, 7, generator=generator)
    return child.tanh() * 3, parent


def scores(child, parent, phi=None, weights=None):
    factor = phi and BucketFactor(phi, parent, PARENT_BOUNDS, torch.ones(3, 3) if weights is None else weights)
    return layer_information(child, parent, child_bounds=CHILD_BOUNDS, parent_bounds=PARENT_BOUNDS, factor=factor)


def conditional_mutual_information(x_ND, y_ND, z_ND, seed=0):
    """Return I(X; Y | Z) in bits, as a layer with one pair of groups."""
    bounds = {"child_bounds": [(0, x_ND.shape[1])], "parent_bounds": [(0, y_ND.shape[1])]}
    return layer_information(x_ND, torch.cat([y_ND, z_ND], dim=1), **bounds, seed=seed).item()


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 3, 6), (3, 2, 6), (1, 2, 2), (2, 2, 0)])
def test_it_equals_loops_over_dictionaries(sizes):
    x, z = layer()
    x, y, z = x[:, : sizes[0]], z[:, : sizes[1]], z[:, 9 - sizes[2] :]
    own, rest = sizes[1], sizes[2]
    draws = draw_ensemble(10, own + rest, 0, CPU)
    expected = plain_pair(*(v.double().numpy() for v in (x, y, z)), draws, list(range(own, own + rest)))
    assert conditional_mutual_information(x, y, z) == pytest.approx(expected, abs=1e-9)


def test_every_pair_of_a_layer_equals_the_pair_alone():
    child, parent = layer()
    fast = scores(child, parent)
    draws = draw_ensemble(10, 9, 0, CPU)
    for g, (first, last) in enumerate(CHILD_BOUNDS):
        for h, own in enumerate(PARENT_BOUNDS):
            rest = [channel for channel in range(9) if channel not in range(*own)]
            variables = (v.double().numpy() for v in (child[:, first:last], parent[:, slice(*own)], parent[:, rest]))
            assert fast[g, h].item() == pytest.approx(plain_pair(*variables, draws, rest), abs=1e-9)


@pytest.mark.parametrize("phi", [None, *ACTIVATION_FACTORS])
def test_neither_order_of_samples_nor_memory_changes_anything(phi, monkeypatch):
    child, parent = layer(500)
    weights = torch.rand(3, 3, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(500, generator=torch.Generator().manual_seed(2))
    expected = scores(child, parent, phi, weights)
    torch.testing.assert_close(scores(child[order], parent[order], phi, weights), expected, rtol=0, atol=1e-12)
    monkeypatch.setattr(acmi, "MEMORY_MB", 0)
    torch.testing.assert_close(scores(child, parent, phi, weights), expected, rtol=0, atol=1e-12)


def test_scale_and_shift_of_a_channel_change_nothing():
    child, parent = layer()
    torch.testing.assert_close(scores(8 * child - 64, parent * 0.25 + 3), scores(child, parent), rtol=0, atol=1e-9)


@pytest.mark.parametrize("condition", [1, 3, 10])
def test_its_error_on_gaussians_falls_with_the_samples(condition):
    def error(samples: int, correlation: float, seed: int) -> float:
        variables = gaussian(samples, correlation, condition=condition, seed=seed)
        return abs(conditional_mutual_information(*variables, seed=seed) - information(correlation))

    def mean_error(samples: int) -> float:
        return fmean(error(samples, correlation, seed) for correlation in (0.3, 0.6, 0.8) for seed in range(3))

    errors = [mean_error(samples) for samples in (500, 4_000, 25_000)]
    assert all(later < 0.8 * earlier for earlier, later in pairwise(errors))
    assert errors[-1] < 0.1 * fmean(information(correlation) for correlation in (0.3, 0.6, 0.8))


@pytest.mark.parametrize("samples", [500, 5_000])
@pytest.mark.parametrize(("size", "condition"), [(1, 1), (1, 10), (4, 4), (8, 100)])
def test_conditional_independence_gives_about_zero(samples, size, condition):
    estimate = conditional_mutual_information(*gaussian(samples, 0, size=size, condition=condition))
    assert abs(estimate) < 1.5 * samples**-0.6


def test_dependence_that_is_not_linear_is_found():
    x, y, z = gaussian(5_000, 0)
    square = y.square() + 0.1 * x
    assert conditional_mutual_information(square, y, z) > 0.5


def test_hundreds_of_conditions_do_not_hide_dependence():
    x, y, z = gaussian(2_000, 0.8, condition=400)
    assert conditional_mutual_information(x, y, z) > 0.5 * information(0.8)


@pytest.mark.parametrize("which", ["child", "parent", "all parents"])
def test_a_constant_channel_carries_no_information(which):
    child, parent = layer()
    if which == "child":
        child[:, 6] = 0.1
    else:
        parent[:, 8 if which == "parent" else slice(None)] = 0.1
    estimates = scores(child, parent)
    constant = {"child": estimates[2], "parent": estimates[:, 2], "all parents": estimates}[which]
    assert constant.abs().max() < 1e-12
    assert estimates.isfinite().all()


def test_a_copied_channel_and_more_channels_than_samples_are_no_trouble():
    child, parent = layer(8)
    parent[:, 1] = parent[:, 0]
    assert scores(child, parent).isfinite().all()


def test_the_activation_forms_of_phi_weigh_the_buckets():
    child, parent = layer()
    half = torch.full((3, 3), 0.5)
    by_phi = {phi: scores(child, parent, phi, half) for phi in ACTIVATION_FACTORS} | {"constant": scores(child, parent)}
    torch.testing.assert_close(by_phi["weight_activation"], 0.5 * by_phi["activation"])
    torch.testing.assert_close(by_phi["weight_activation_sq"], 0.25 * by_phi["activation_sq"])
    assert (by_phi["activation"].abs() < by_phi["constant"].abs() + 1e-6).all()
    # exp(-a²/2) is at least exp(-1/2), since a is at most 1.
    assert by_phi["exp_activation"].sum() > math.exp(-0.5) * by_phi["constant"].sum()
    assert by_phi["exp_weight_activation"].sum() > by_phi["exp_activation"].sum()


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda child, parent: (child[:5], parent), "same samples"),
        (lambda child, parent: (child[:1], parent[:1]), "at least 2"),
        (lambda child, parent: (child * math.nan, parent), "not finite"),
        (lambda child, parent: (child, parent / 0), "not finite"),
    ],
)
def test_it_says_what_is_wrong_with_activations(change, remedy):
    with pytest.raises(ConfigError, match=remedy):
        scores(*change(*layer()))


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_block_is_worked_on_by_a_thread_of_its_own_and_without_gradients(threads):
    seen = {}

    def work(block):
        seen[block] = torch.get_num_threads(), torch.is_grad_enabled()

    run_in_threads(work, range(20), CPU)
    assert seen == dict.fromkeys(range(20), (1, False))
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_an_error_is_raised_and_ends_the_work(threads):
    done = []

    def work(block):
        if block == 0:
            raise MemoryError("too much")
        done.append(block)

    with pytest.raises(MemoryError, match="too much"):
        run_in_threads(work, range(10_000), CPU)
    assert len(done) < 9_999


def test_the_estimate_is_the_same_bits_with_any_number_of_threads(threads, monkeypatch):
    monkeypatch.setattr(acmi, "MEMORY_MB", 1)
    generator = torch.Generator().manual_seed(0)
    child, parent = (torch.randn(300, 12, generator=generator) for _ in range(2))
    bounds = [(first, first + 2) for first in range(0, 12, 2)]

    def found(count):
        torch.set_num_threads(count)
        return layer_information(child + parent, parent, child_bounds=bounds, parent_bounds=bounds)

    assert torch.equal(found(threads), found(1))


def ranks(values_ND):
    """Gaussian quantiles of the ranks of each column."""
    places = values_ND.argsort(0).argsort(0).double()
    return torch.special.ndtri((places + 0.5) / len(values_ND))


CHANGES = {"cubed": lambda v: v**3, "exponential": lambda v: (2 * v).exp()}


@pytest.mark.parametrize(("change", "most"), [("cubed", 0.7), ("exponential", 0.35)])
def test_heavy_tails_change_the_estimate_and_ranks_restore_it(change, most):
    """The truth stays the same: each variable is replaced by an increasing function of it."""
    x, y, z = (CHANGES[change]((v - v.mean(0)) / v.std(0)) for v in gaussian(2000, 0.9, condition=10))
    assert conditional_mutual_information(x, y, z) < most
    assert conditional_mutual_information(*map(ranks, (x, y, z))) == pytest.approx(0.85, abs=0.03)
    x, y, z = (CHANGES[change]((v - v.mean(0)) / v.std(0)) for v in gaussian(2000, 0.0, condition=10))
    assert conditional_mutual_information(x, y, z) > 0.03
    assert conditional_mutual_information(*map(ranks, (x, y, z))) == pytest.approx(0.0, abs=0.01)


def test_a_common_cause_that_is_not_linear_counts_as_information():
    draws = torch.Generator().manual_seed(0)
    z = torch.randn(2000, 50, generator=draws, dtype=torch.float64)
    cause = z.abs().sum(1, keepdim=True)
    cause = (cause - cause.mean()) / cause.std()
    x, y = (cause + 0.5 * torch.randn(2000, 1, generator=draws, dtype=torch.float64) for _ in range(2))
    assert 0.5 < conditional_mutual_information(x, y, z) < 0.6  # the truth is 0


def test_of_groups_of_channels_the_information_of_one_direction_is_found():
    x, y, z = gaussian(2000, 0.6, size=8, condition=100)
    assert information(0.6, 8) == pytest.approx(2.575, abs=1e-3)
    assert conditional_mutual_information(x, y, z) == pytest.approx(information(0.6), abs=0.05)


def test_few_samples_show_information_where_there_is_none():
    found = {
        n: fmean(conditional_mutual_information(*gaussian(n, 0.0, size=8, condition=100, seed=s)) for s in range(3))
        for n in (130, 400)
    }
    assert few_samples(130, 108) and not few_samples(400, 108)
    assert found[130] > 0.05 > 0.02 > abs(found[400])
