"""From scores, limits and protected groups to the mask: the connections with the lowest scores go, each layer within its limit.

Shapes: per child layer, G groups of the child's channels and H groups of the parent's.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.config.sections import AUTO
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.after_training.connections import GroupedPair, connection_mask
from snip_cli.pruning.method import Pruned, Sparsity

log = logging.getLogger("snip_cli")

# Bins of the reported histograms of scores.
BINS = 64


@dataclass(frozen=True)
class ScoredLayer:
    """One layer's connections, and which of them may be removed.

    Attributes:
        scores: G×H, finite; larger = keep.
        weights: int64 G×H, how many weights each connection has.
        limit: largest part of the layer's weights that may be removed, in [0, 1].
        spared: bool G×H, connections that were also kept while the limit was found.
        protected: bool G×H, further connections that must stay.
    """

    scores: Tensor
    weights: Tensor
    limit: float
    spared: Tensor
    protected: Tensor

    def removable(self) -> Tensor:
        """Return the flat places of the connections that may be removed, lowest score first.

        A protected connection is not replaced by another one: that one would exceed what the limit was found for.
        """
        scores, weights = self.scores.flatten(), self.weights.flatten()
        order = scores.argsort(stable=True)
        order = order[~self.spared.flatten()[order]]
        order = order[weights[order].cumsum(0) <= self.limit * weights.sum() * (1 + 1e-12)]
        return order[~self.protected.flatten()[order]]


def strongest_connections(scores_GH: Tensor) -> Tensor:
    """Mark the connection of every child group that has the highest score, of equal ones the first: bool G×H."""
    strongest_GH = torch.zeros_like(scores_GH, dtype=torch.bool)
    return strongest_GH.scatter_(1, scores_GH.argmax(dim=1, keepdim=True), True)


def prune_connections(
    model: nn.Module,
    grouped: Mapping[str, GroupedPair],
    scores: Mapping[str, Tensor],
    limits: Mapping[str, Mapping[str, Any]],
    protected: Mapping[str, Tensor],
    sparsity: Sparsity,
) -> Pruned:
    """Remove the connections with the lowest scores, within the limits. Every child group keeps its strongest connection.

    A warning says if the limits do not allow `sparsity`.

    Args:
        model: the network to prune, which is left unchanged.
        grouped, scores: the groups of each child layer, and the scores of its connections (G×H, larger = keep).
        limits: by child, a report with at least `limit`, the part of its connections, in [0, 1], that may be removed.
        protected: by child, the groups that keep all their connections, bool G.
        sparsity: fraction of all prunable parameters, in [0, 1), or `auto`: prune every layer to its limit.
    """
    parameters = prunable_parameters(model)
    total = sum(parameter.numel() for parameter in parameters.values())
    layers = {
        child: ScoredLayer(
            scores[child],
            each.weight_counts(parameters[f"{child}.weight"]),
            limits[child]["limit"],
            strongest_connections(scores[child]),
            protected[child][:, None].expand(scores[child].shape),
        )
        for child, each in grouped.items()
    }
    kept = select(layers, None if sparsity == AUTO else total - round(total * (1 - float(sparsity))))
    mask = connection_mask(model, kept, grouped.values())
    reached = 1 - sum(int(keep.sum()) for keep in mask.values()) / total
    reachable = sum(int(layer.weights.flatten()[layer.removable()].sum()) for layer in layers.values()) / total
    if sparsity != AUTO and float(sparsity) > reachable:
        whole = sorted({name.rpartition(".")[0] for name in parameters} - set(grouped))
        log.warning(
            "sparsity=%s is more than the layers' limits allow: pruned to %.4f (never pruned: %s)",
            sparsity,
            reached,
            ", ".join(whole) or "none",
        )
    facts = {"sparsity_requested": sparsity, "sparsity_reached": reached, "sparsity_reachable": reachable}
    report = {child: {**limits[child], **layer_report(scores[child], kept[child], protected[child])} for child in kept}
    return Pruned(mask, report, facts)


def select(layers: Mapping[str, ScoredLayer], at_most: int | None) -> dict[str, Tensor]:
    """Return which connections stay: bool G×H for each layer, True = kept.

    Connections are removed by rising score over all layers, of equal ones the one in the earlier layer and place first, until the next
    one would exceed `at_most` weights. Every layer stops at its limit. With None every layer is pruned to its limit.
    """
    removed = {name: layer.removable() for name, layer in layers.items()}
    if at_most is not None:
        removed = lowest_scores(layers, removed, at_most)
    kept = {}
    for name, layer in layers.items():
        keep = torch.ones(layer.scores.numel(), dtype=torch.bool)
        keep[removed[name]] = False
        kept[name] = keep.view(layer.scores.shape)
    return kept


def lowest_scores(
    layers: Mapping[str, ScoredLayer], removable: Mapping[str, Tensor], at_most: int
) -> dict[str, Tensor]:
    """Return the removable connections with the lowest scores, up to `at_most` weights of them."""
    scores = torch.cat([layers[name].scores.flatten()[places] for name, places in removable.items()])
    weights = torch.cat([layers[name].weights.flatten()[places] for name, places in removable.items()])
    order = scores.argsort(stable=True)
    removed = torch.zeros(len(scores), dtype=torch.bool)
    removed[order[weights[order].cumsum(0) <= at_most]] = True
    parts = removed.split([len(places) for places in removable.values()])
    return {name: places[part] for (name, places), part in zip(removable.items(), parts, strict=True)}


def layer_report(scores_GH: Tensor, keep_GH: Tensor, protected_G: Tensor) -> dict[str, Any]:
    """Report one layer: the part of connections removed, groups cut off, protected groups, and the histogram of its scores."""
    counts, edges = torch.histogram(scores_GH.double().flatten(), bins=BINS)
    return {
        "removed": 1 - float(keep_GH.double().mean()),
        "groups_cut_off": int((~keep_GH.any(dim=0)).sum()),
        "protected": int(protected_G.sum()),
        "scores": {"edges": edges.tolist(), "counts": counts.int().tolist()},
    }
