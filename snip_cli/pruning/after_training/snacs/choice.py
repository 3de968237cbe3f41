"""Scores, limits and protected filters → the mask, and what is told of it."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.config.sections import AUTO
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.after_training.snacs.connections import Connections, connection_mask
from snip_cli.pruning.after_training.snacs.constraints import strongest_connections
from snip_cli.pruning.after_training.snacs.selection import Layer, select
from snip_cli.pruning.method import Pruned, Sparsity

log = logging.getLogger("snip_cli")

BUCKETS = 64


def prune_connections(
    model: nn.Module,
    found: Mapping[str, Connections],
    scores: Mapping[str, Tensor],
    limits: Mapping[str, Mapping[str, Any]],
    protected: Mapping[str, Tensor],
    sparsity: Sparsity,
) -> Pruned:
    """The mask that removes the lowest scores within the limits, around protected filters; says so where they forbid `sparsity`.

    Args:
        found, scores: the connections of each child layer, and their scores G×H, larger = keep.
        limits: by child, at least its `limit`: the part of its connections, in [0, 1], that may go.
        protected: by child, the groups that keep all their connections, bool G.
        sparsity: of the prunable parameters, in [0, 1), or `auto`: every layer to its limit.
    """
    parameters = prunable_parameters(model)
    total = sum(parameter.numel() for parameter in parameters.values())
    layers = {
        child: Layer(
            scores[child],
            each.weights(parameters[f"{child}.weight"]),
            limits[child]["limit"],
            strongest_connections(scores[child]),
            protected[child][:, None].expand(scores[child].shape),
        )
        for child, each in found.items()
    }
    at_most = None if sparsity == AUTO else total - round(total * (1 - sparsity))
    kept = select(layers, at_most)
    mask = connection_mask(model, kept, list(found.values()))
    reached = 1 - sum(int(keep.sum()) for keep in mask.values()) / total
    reachable = sum(int(layer.weights.flatten()[layer.removable()].sum()) for layer in layers.values()) / total
    whole = sorted({name.rpartition(".")[0] for name in parameters} - set(found))
    if sparsity != AUTO and sparsity > reachable:
        log.warning(
            "sparsity=%s is more than the layers' limits allow, which is %.4f: pruned to that (never pruned: %s)",
            sparsity,
            reached,
            ", ".join(whole) or "none",
        )
    facts = {"sparsity_requested": sparsity, "sparsity_reached": reached, "sparsity_reachable": reachable}
    told = {child: {**limits[child], **told_of(scores[child], kept[child], protected[child])} for child in found}
    return Pruned(mask, told, facts)


def told_of(scores_GH: Tensor, keep_GH: Tensor, protected_G: Tensor) -> dict[str, Any]:
    """One layer's part of connections removed, protected groups, and the histogram of its scores."""
    counts, edges = torch.histogram(scores_GH.double().flatten(), bins=BUCKETS)
    return {
        "removed": 1 - float(keep_GH.double().mean()),
        "groups_cut_off": int((~keep_GH.any(dim=0)).sum()),
        "protected": int(protected_G.sum()),
        "scores": {"edges": edges.tolist(), "counts": counts.int().tolist()},
    }
