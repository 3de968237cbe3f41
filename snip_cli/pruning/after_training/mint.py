"""MINT (Ganesh et al., 2020, arXiv 2003.08472), the predecessor of SNACS: scores connections by a tree-based estimate of dependence.

The estimator is conditional geometric mutual information by a minimum spanning tree; its steps are those of the authors' code. A third of
the samples stands for the joint distribution of (X, Y, Z). The other two thirds imitate P(X|Z) P(Y|Z) P(Z): X and Z come from the second
third, and Y from the sample of the last third that is nearest in Z (Euclidean distance). Both sets are pooled and joined by the Euclidean
minimum spanning tree. The fewer of its edges run between the sets, the more the distributions differ (the statistic of Friedman and
Rafsky). With n samples in each set and r edges between them, the estimate is 1 - min(r, n) / n: about 0 for conditional independence,
because r is then about n, and at most 1.

Unlike the authors' code, this one keeps child and parent samples paired. There each draws its third by a shuffle of its own, so that the
joint third is not a sample of the joint distribution. As there, activations are not scaled.

N samples, C channels, D dimensions, n a third of the samples, M = 2n, G child groups, H parent groups.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.activations import (
    check_activations,
    require_enough_images,
    sample_activations,
)
from snip_cli.pruning.after_training.connections import Bounds, group_pair
from snip_cli.pruning.after_training.layer_pairs import PAIRS, example_of, find_pairs, layer_names
from snip_cli.pruning.after_training.selection import prune_connections
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Stage, Start, register
from snip_cli.pruning.options import option


@dataclass(frozen=True)
class MintOptions:
    """Options of MINT. The authors' runs set limits of 0.75 to 0.90 for VGG16's layers, 0.50 for ResNet56 and 0.55 for ResNet50."""

    groups: int = option(64, "most groups of a layer's channels; 0: each channel is a group", at_least=0)
    pairs: str = option("all", "pairs of consecutive layers, or those in the authors' code (published)", choices=PAIRS)
    upper_limit: float = option(
        0.9, "part of the connections of any layer that may go", at_least=0.0, below=1.0, in_steps=False
    )


def check(model: nn.Module, example_1CHW: Tensor, options: MintOptions) -> None:
    """Raise ConfigError if the network has no pairs of layers to prune."""
    find_pairs(model, example_1CHW, which=options.pairs)


@register(
    "mint",
    stage=Stage.AFTER_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.MASK,
    options=MintOptions,
    check=check,
    finds_sparsity=True,
    biases=Biases.KEPT,
    redraw=False,
)
def mint(model: nn.Module, batches: Iterable[Batch], loss: Loss, request: Request, options: MintOptions) -> Pruned:
    """Remove the connections with the lowest conditional dependence, up to `upper_limit` of any layer.

    The method works like SNACS, but with the tree estimator, no weights in the score, no protected filters, and one limit set by hand.

    Raises ConfigError if the network or its activations do not fit.
    """
    example = example_of(batches)
    pairs = find_pairs(model, example, which=options.pairs)
    grouped = {pair.child: group_pair(model, pair, options.groups) for pair in pairs}
    activations = request.steps.do("activations", lambda: sample_activations(model, batches, layer_names(pairs)))
    require_enough_images(model, example, activations[""])
    first_seed = request.generator.initial_seed()

    def score(child: str) -> Tensor:
        each = grouped[child]
        return layer_dependence(
            activations[child],
            activations[each.pair.parent][:, : each.parent_channels],
            child_bounds=each.child_bounds,
            parent_bounds=each.parent_bounds,
            generator=torch.Generator().manual_seed(first_seed + list(grouped).index(child)),
        )

    scores = request.steps.each("scores", list(grouped), score)
    limits = {child: {"limit": options.upper_limit} for child in grouped}
    protected = {child: torch.zeros(len(each.child_bounds), dtype=torch.bool) for child, each in grouped.items()}
    return prune_connections(model, grouped, scores, limits, protected, request.sparsity)


@torch.no_grad()
def layer_dependence(
    child_NC: Tensor, parent_NC: Tensor, *, child_bounds: Bounds, parent_bounds: Bounds, generator: torch.Generator
) -> Tensor:
    """Return the dependence of child and parent group given all other parent channels: float64 G×H, in [0, 1], on the CPU.

    `generator` (on the CPU) draws the thirds, once for all pairs. Time grows with the square of N: each pair takes a tree over 2N/3 points.

    Raises ConfigError for fewer than three samples, unequal numbers of samples, and activations that are not finite.
    """
    check_activations(child_NC, parent_NC)
    third = len(child_NC) // 3
    if third < 1:
        raise ConfigError(f"A spanning tree cannot be built from {len(child_NC)} samples: give at least 3.")
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
            # Computed anew for each parent group, because keeping all of them would take G times the memory.
            squares = squared_distances(pooled_child[:, slice(*bounds)]).add_(parent_squares)
            dependence_GH[g, h] = 1 - min(crossing_edges(squares, third), third) / third
    return dependence_GH


def squared_distances(points_MD: Tensor) -> Tensor:
    """Return the squared Euclidean distances of all pairs, M×M. Squares have the same order as distances and add up over coordinates."""
    return torch.cdist(points_MD, points_MD, compute_mode="use_mm_for_euclid_dist").square_()


def crossing_edges(squares_MM: Tensor, first: int) -> int:
    """Return how many edges of the minimum spanning tree join one of the `first` points with one of the others."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    points = len(squares_MM)
    row, column = torch.triu_indices(points, points, offset=1)
    # SciPy takes a weight of 0 for no edge, so points that coincide get the smallest positive weight.
    weights = squares_MM[row, column].clamp_min(torch.finfo(torch.float64).tiny)
    starts = torch.arange(points - 1, -1, -1).cumsum(0)
    graph = csr_matrix(
        (weights.numpy(), column.int().numpy(), torch.cat([torch.zeros(1), starts]).int().numpy()), (points, points)
    )
    edges = minimum_spanning_tree(graph, overwrite=True).tocoo()
    return int(((edges.row < first) != (edges.col < first)).sum())
