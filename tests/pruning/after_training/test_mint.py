"""The spanning-tree estimator: correct if the answer is known, and the same for a layer as for its pairs."""

import pytest
import torch
from scipy.sparse.csgraph import minimum_spanning_tree

from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.mint import crossing_edges, layer_dependence, squared_distances
from tests.pruning.after_training.snacs.gaussian import gaussian


def conditional_dependence(x_ND, y_ND, z_ND, *, generator):
    """Return the dependence of X and Y given Z, as a layer with one pair of groups."""
    bounds = {"child_bounds": [(0, x_ND.shape[1])], "parent_bounds": [(0, y_ND.shape[1])]}
    return layer_dependence(x_ND, torch.cat([y_ND, z_ND], dim=1), **bounds, generator=generator).item()


def estimate(samples, correlation, seed=0):
    return conditional_dependence(
        *gaussian(samples, correlation, seed=seed), generator=torch.Generator().manual_seed(seed)
    )


def test_it_grows_with_dependence_from_about_zero():
    means = [sum(estimate(900, correlation, seed) for seed in range(3)) / 3 for correlation in (0, 0.5, 0.8, 0.99)]
    assert means == sorted(means)
    assert means[0] < 0.05
    assert means[-1] > 0.5


def test_the_tree_is_that_of_all_distances():
    points = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    edges = minimum_spanning_tree(torch.cdist(points, points).numpy()).tocoo()
    crossing = sum((row < 15) != (column < 15) for row, column in zip(edges.row, edges.col, strict=True))
    assert crossing_edges(squared_distances(points), 15) == crossing


def test_points_that_coincide_are_joined():
    assert crossing_edges(squared_distances(torch.zeros(6, 2, dtype=torch.float64)), 3) >= 1


def test_a_layer_is_its_pairs():
    generator = torch.Generator().manual_seed(0)
    parent = torch.randn(150, 6, generator=generator)
    child = parent @ torch.randn(6, 5, generator=generator)
    bounds = {"child_bounds": [(0, 2), (2, 5)], "parent_bounds": [(0, 4), (4, 6)]}
    layer = layer_dependence(child, parent, **bounds, generator=torch.Generator().manual_seed(1))
    for g, (first, last) in enumerate(bounds["child_bounds"]):
        pair = conditional_dependence(
            child[:, first:last], parent[:, 4:], parent[:, :4], generator=torch.Generator().manual_seed(1)
        )
        assert layer[g, 1].item() == pair


def test_it_says_what_it_cannot_use():
    with pytest.raises(ConfigError, match="at least 3"):
        estimate(2, 0)
    with pytest.raises(ConfigError, match="same samples"):
        conditional_dependence(torch.ones(5, 1), torch.ones(4, 1), torch.ones(4, 1), generator=torch.Generator())


def test_without_a_condition_independent_samples_are_independent():
    draws = torch.Generator().manual_seed(4)
    x_N1, y_N1, nothing = (
        torch.randn(900, 1, generator=draws),
        torch.randn(900, 1, generator=draws),
        torch.empty(900, 0),
    )
    assert abs(conditional_dependence(x_N1, y_N1, nothing, generator=draws)) < 0.15
    assert conditional_dependence(x_N1, x_N1, nothing, generator=draws) > 0.5
