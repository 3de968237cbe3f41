"""Conditional geometric mutual information by a minimum spanning tree: MINT's estimator (arXiv 2003.08472; steps as in its authors' code).

A third of the samples stands for the joint distribution of (X, Y, Z). The other two thirds make as many samples of P(X|Z) P(Y|Z) P(Z): X and Z of
one third, and for Y that of the nearest neighbour in Z among the other third (Z's Euclidean distance). Both are pooled and joined by the Euclidean minimum spanning tree.
The fewer of its edges run between the two, the further they are from each other (Friedman and Rafsky's statistic): with n samples each and r edges
between them, the estimate is 1 - min(r, n) / n; as r is about n for equal distributions, that is 0 for conditional independence, and at most 1.

Unlike the authors' code, child and parent keep their pairing: there each draws its third by a shuffle of its own, so that the joint third
is no sample of the joint distribution. Activations are not scaled, as there.

N samples, C channels, D dimensions, n a third of the samples, G child groups, H parent groups.
"""

import torch
from torch import Tensor

from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs.acmi import check_activations
from snip_cli.pruning.after_training.snacs.hashing import Bounds


def conditional_dependence(x_ND: Tensor, y_ND: Tensor, z_ND: Tensor, *, generator: torch.Generator) -> float:
    """The dependence of X and Y given Z, in [0, 1]; 0 columns of Z ask for dependence alone. Errors as for `layer_dependence`."""
    check_activations(x_ND, z_ND)
    check_activations(x_ND, y_ND)
    parent_ND = torch.cat([y_ND, z_ND.to(y_ND)], dim=1)
    x_bounds, y_bounds = [(0, x_ND.shape[1])], [(0, y_ND.shape[1])]
    return layer_dependence(x_ND, parent_ND, child_bounds=x_bounds, parent_bounds=y_bounds, generator=generator).item()


@torch.no_grad()
def layer_dependence(
    child_NC: Tensor, parent_NC: Tensor, *, child_bounds: Bounds, parent_bounds: Bounds, generator: torch.Generator
) -> Tensor:
    """The dependence of child and parent group given all other parent channels, for every pair: [G, H] (float64, in [0, 1], on the host).

    `generator` (of the host) draws the thirds, one draw for all pairs. Time grows with the square of N: each pair is a tree over 2 N / 3 points.
    Raises ConfigError for fewer than three samples, numbers of samples that differ, and activations that are not finite.
    """
    check_activations(child_NC, parent_NC)
    third = len(child_NC) // 3
    if third < 1:
        raise ConfigError(f"The spanning tree cannot be grown from {len(child_NC)} samples: give at least 3.")
    joint, own, others = torch.randperm(len(child_NC), generator=generator)[: 3 * third].split(third)
    child, parent = child_NC.double().cpu(), parent_NC.double().cpu()
    pooled_child = torch.cat([child[joint], child[own]])
    dependence_GH = torch.empty(len(child_bounds), len(parent_bounds), dtype=torch.float64)
    for h, (first, last) in enumerate(parent_bounds):
        z_NC = torch.cat([parent[:, :first], parent[:, last:]], dim=1)
        y_ND = parent[:, first:last]
        # Without a condition any pairing of independent samples will do.
        neighbours = torch.cdist(z_NC[own], z_NC[others]).argmin(1) if z_NC.shape[1] else torch.arange(third)
        pooled_y = torch.cat([y_ND[joint], y_ND[others][neighbours]])
        parent_squares = squared_distances(torch.cat([pooled_y, z_NC[torch.cat([joint, own])]], dim=1))
        for g, bounds in enumerate(child_bounds):
            # Computed again for each parent group: to keep them all would take memory by the child group.
            squares = squared_distances(pooled_child[:, slice(*bounds)]).add_(parent_squares)
            dependence_GH[g, h] = 1 - min(crossing_edges(squares, third), third) / third
    return dependence_GH


def squared_distances(points_MD: Tensor) -> Tensor:
    """Squared Euclidean distances of all pairs, M×M. Their order is that of the distances, and they add up over coordinates."""
    return torch.cdist(points_MD, points_MD, compute_mode="use_mm_for_euclid_dist").square_()


def crossing_edges(squares_MM: Tensor, first: int) -> int:
    """Edges of the minimum spanning tree that join one of the `first` points with one of the rest."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    points = len(squares_MM)
    row, column = torch.triu_indices(points, points, offset=1)
    # An edge of weight 0 would be none: points that coincide stay joined at the smallest weight there is.
    weights = squares_MM[row, column].clamp_min(torch.finfo(torch.float64).tiny)
    starts = torch.arange(points - 1, -1, -1).cumsum(0)
    graph = csr_matrix(
        (weights.numpy(), column.int().numpy(), torch.cat([torch.zeros(1), starts]).int().numpy()), (points, points)
    )
    edges = minimum_spanning_tree(graph, overwrite=True).tocoo()
    return int(((edges.row < first) != (edges.col < first)).sum())
