"""Upper pruning limits: how much of its connections each layer can lose, whatever the other layers lose.

Three operating constraints bound a layer's limit:

accuracy    A probe that learned the classes from the layer's outputs must still tell them apart by the pruned layer's (the authors' code).
connected   Each group of a layer's channels keeps its strongest connection (our addition). Without one its output is a constant, and what
            later layers make of it is dead weight. It follows that no layer is ever emptied and that the network stays connected: from
            every output a path leads back through the layers, group by group, to the first layer, which is never pruned.
grid        The largest fraction that is tried.

A layer by whose outputs the probe tells the classes apart hardly better than by guessing would get its limit by chance. It gets another:

neighbours  The lower limit of the nearest layers before and after it that do not get theirs by chance, as far as it stays `connected`.
none        0 if there are no such layers.

Shapes: N images, I inputs of the child, K places of its kernel, G groups of the child's channels, H groups of the parent's.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.pruning.after_training.connections import GroupedPair
from snip_cli.pruning.after_training.selection import strongest_connections
from snip_cli.pruning.after_training.snacs.probe import Probe, mean_outputs

log = logging.getLogger("snip_cli")

# 1, 6, …, 96 %: nearly all layers that the authors report lie at one of these.
GRID = tuple(percent / 100 for percent in range(1, 97, 5))
# A layer gets its limit by chance if the probe's accuracy on it is less than this part of the way from guessing to 1.
BLIND = 0.05


@dataclass(frozen=True)
class ProbedLayer:
    """What the probe sees of one layer.

    Attributes:
        name: of the layer.
        grid, accuracy: the fractions of its connections that were pruned on trial, and the probe's accuracy at each.
        unpruned: the probe's accuracy on the outputs that it learned from.
    """

    name: str
    grid: list[float]
    accuracy: list[float]
    unpruned: float

    def is_blind(self, guessing: float) -> bool:
        """Return whether the probe's accuracy is hardly better than that of guessing."""
        return self.unpruned - guessing < BLIND * (1 - guessing)


@dataclass(frozen=True)
class LayerLimit:
    """How much one layer can lose.

    Attributes:
        name: of the layer.
        limit: part of its connections, in [0, 1).
        bound_by: the constraint that set it.
        by_chance: the limit that was not used, because chance had set it.
    """

    name: str
    limit: float
    bound_by: str
    by_chance: float | None = None


def probe_layer(
    model: nn.Module, grouped: GroupedPair, scores_GH: Tensor, means_NIK: Tensor, labels_N: Tensor
) -> ProbedLayer:
    """Return the probe's accuracy on a layer that is pruned by each fraction of the grid.

    Each fraction prunes this layer alone, by its scores, and nothing is retrained. This follows the authors' code, except that every child
    group keeps its strongest connection, and that `unpruned` is reported too.

    Args:
        model: holds the layer's weight and bias.
        grouped: the layer with its parent.
        scores_GH: larger = keep.
        means_NIK: of the layer's inputs (`input_means`).
        labels_N: the classes of the images.
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
    return ProbedLayer(grouped.child, list(GRID), accuracy, probe.accuracy(original))


def find_limits(
    probed: Mapping[str, ProbedLayer], scores: Mapping[str, Tensor], *, slack: float, guessing: float
) -> dict[str, dict[str, Any]]:
    """Return the limit of every layer, and what the probe has seen (`LayerLimit` and `ProbedLayer` as one dictionary), by its name.

    A warning lists the layers whose limits chance would have set.

    Args:
        probed: by layer, from input to output.
        scores: by layer, G×H; larger = keep.
        slack: in [0, 1]; more slack gives higher limits.
        guessing: the accuracy of guessing.
    """
    limits = {name: layer_limit(each, scores[name], slack=slack) for name, each in probed.items()}
    blind = [name for name, each in probed.items() if each.is_blind(guessing)]
    if blind:
        log.warning(
            "limits set by chance are not used: %s. By the outputs of these layers the probe hardly does better than guessing; %s",
            ", ".join(blind),
            "each gets the lower limit of the nearest other layers before and after it"
            if len(blind) < len(probed)
            else "there are no other layers, so nothing is removed",
        )
    limits = without_chance(limits, scores, blind)
    return {
        name: {key: value for key, value in asdict(limit).items() if value is not None} | asdict(probed[name])
        for name, limit in limits.items()
    }


def layer_limit(probed: ProbedLayer, scores_GH: Tensor, *, slack: float) -> LayerLimit:
    """Return the largest fraction at which the probe's accuracy is at least max − slack · (max − min) of those over the grid.

    `slack` lies in [0, 1]; more slack gives higher limits.
    """
    accuracy, grid = probed.accuracy, probed.grid
    floor = max(accuracy) - slack * (max(accuracy) - min(accuracy))
    limit = max(fraction for fraction, reached in zip(grid, accuracy, strict=True) if reached >= floor)
    bound_by = "grid" if limit == grid[-1] else "accuracy"
    if limit > (connected := highest_connected(scores_GH)):
        limit, bound_by = connected, "connected"
    return LayerLimit(probed.name, limit, bound_by)


def without_chance(
    limits: Mapping[str, LayerLimit], scores: Mapping[str, Tensor], blind: Sequence[str]
) -> dict[str, LayerLimit]:
    """Return the limits, by layer from input to output, with those of the `blind` layers by the rule `neighbours` or `none`."""
    names = list(limits)
    seen = [number for number, name in enumerate(names) if name not in blind]
    found = dict(limits)
    for name in blind:
        number = names.index(name)
        before, after = [other for other in seen if other < number], [other for other in seen if other > number]
        nearest = [limits[names[other]].limit for other in (*before[-1:], *after[:1])]
        limit = min([*nearest, highest_connected(scores[name])]) if nearest else 0.0
        bound_by = "neighbours" if nearest else "none"
        found[name] = replace(limits[name], limit=limit, bound_by=bound_by, by_chance=limits[name].limit)
    return found


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
