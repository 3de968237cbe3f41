"""Upper pruning limits: how much of its connections each layer can lose, whatever the other layers lose.

Three operating constraints bound a layer's limit:

accuracy    A probe that learned the classes from the layer's outputs must still tell them apart by the pruned layer's (the authors' code).
connected   Each group of a layer's channels keeps its strongest connection (our addition). Without one its output is a constant, and what
            later layers make of it is dead weight. It follows that no layer is ever emptied and that the network stays connected: from
            every output a path leads back through the layers, group by group, to the first layer, which is never pruned.
grid        The largest fraction that is tried.

Shapes: N images, I inputs of the child, K places of its kernel, G groups of the child's channels, H groups of the parent's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snip_cli.pruning.after_training.connections import GroupedPair
from snip_cli.pruning.after_training.selection import strongest_connections
from snip_cli.pruning.after_training.snacs.probe import Probe, mean_outputs

# 1, 6, …, 96 %: nearly all layers that the authors report lie at one of these.
GRID = tuple(percent / 100 for percent in range(1, 97, 5))


@dataclass(frozen=True)
class LayerLimit:
    """How much one layer can lose.

    Attributes:
        name: of the layer.
        limit: part of its connections, in [0, 1).
        bound_by: the constraint that set it.
        grid, accuracy: the fractions that were tried, and the probe's accuracy at each.
        unpruned: the probe's accuracy on the outputs that it learned from.
    """

    name: str
    limit: float
    bound_by: str
    grid: list[float]
    accuracy: list[float]
    unpruned: float


def layer_limit(
    model: nn.Module,
    grouped: GroupedPair,
    scores_GH: Tensor,
    means_NIK: Tensor,
    labels_N: Tensor,
    *,
    slack: float,
) -> LayerLimit:
    """Return the largest fraction at which the probe's accuracy is at least max − slack · (max − min) of those over the grid.

    Each fraction prunes this layer alone, by its scores, and nothing is retrained. This follows the authors' code, except that every child
    group keeps its strongest connection, and that `unpruned` is reported too.

    Args:
        model: holds the layer's weight and bias.
        grouped: the layer with its parent.
        scores_GH: larger = keep.
        means_NIK: of the layer's inputs (`input_means`).
        labels_N: the classes of the images.
        slack: in [0, 1]; more slack gives higher limits.
    """
    child = model.get_submodule(grouped.child)
    assert isinstance(child, nn.Conv2d | nn.Linear)
    weight = child.weight.detach().cpu()
    bias = None if child.bias is None else child.bias.detach().cpu()
    original = mean_outputs(means_NIK, weight, bias)
    probe = Probe(original, labels_N)
    accuracy = []
    for fraction in GRID:
        mask = grouped.mask(keep_strongest(scores_GH.cpu(), fraction), weight)
        accuracy.append(probe.accuracy(mean_outputs(means_NIK, weight * mask, bias)))
    floor = max(accuracy) - slack * (max(accuracy) - min(accuracy))
    limit = max(fraction for fraction, reached in zip(GRID, accuracy, strict=True) if reached >= floor)
    bound_by = "grid" if limit == GRID[-1] else "accuracy"
    if limit > (connected := highest_connected(scores_GH)):
        limit, bound_by = connected, "connected"
    return LayerLimit(grouped.child, limit, bound_by, list(GRID), accuracy, probe.accuracy(original))


def highest_connected(scores_GH: Tensor) -> float:
    """Return the largest part of the connections that can be pruned under `connected`, in [0, 1)."""
    return 1 - len(scores_GH) / scores_GH.numel()


def keep_strongest(scores_GH: Tensor, fraction: float) -> Tensor:
    """Return which connections stay if `fraction` of them, rounded, is pruned by score under `connected`: bool G×H.

    Of equal scores the earlier stays. The authors' code prunes up to and including the score at that place among the distinct scores: one
    connection more, and all equal ones with it.
    """
    ranked_GH = scores_GH.double().masked_fill(strongest_connections(scores_GH), torch.inf)
    kept = max(ranked_GH.numel() - round(fraction * ranked_GH.numel()), len(ranked_GH))
    order = ranked_GH.flatten().argsort(descending=True, stable=True)
    keep = torch.zeros(ranked_GH.numel(), dtype=torch.bool)
    keep[order[:kept]] = True
    return keep.view(ranked_GH.shape)
