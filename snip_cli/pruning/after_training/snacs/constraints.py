"""The operating constraints: what bounds the part of a layer's connections that may be pruned, whatever the other layers lose.

accuracy    A probe that learnt the classes from the layer's outputs must still tell them apart by the pruned layer's (the authors' code).
connected   Each group of a layer's channels keeps its strongest connection (our addition). Without one its output is a constant, and what later
            layers make of it is dead weight. It follows that no layer is ever emptied, and that the network stays connected: from every
            output one finds a way back through the layers, group by group, to the first layer, which is never pruned.
grid        The highest percentage that is tried.

Shapes: G groups of the child's channels, H groups of the parent's; scores: larger = keep.
"""

import torch
from torch import Tensor


def strongest_connections(scores_GH: Tensor) -> Tensor:
    """The connections that `connected` spares, bool G×H: of every child group the one with the highest score, of equal ones the first."""
    spared_GH = torch.zeros_like(scores_GH, dtype=torch.bool)
    return spared_GH.scatter_(1, scores_GH.argmax(dim=1, keepdim=True), True)


def highest_connected(scores_GH: Tensor) -> float:
    """The highest part of the connections that can be pruned under `connected`, in [0, 1)."""
    return 1 - len(scores_GH) / scores_GH.numel()


def keep_strongest(scores_GH: Tensor, fraction: float) -> Tensor:
    """The connections that stay, bool G×H, where `fraction` of them, rounded, is pruned by score, but none that `connected` spares.

    Of equal scores the earlier stays. The authors' code prunes up to and with the score at that place among the different scores: one
    connection more, and all equal ones with it.
    """
    ranked_GH = scores_GH.double().masked_fill(strongest_connections(scores_GH), torch.inf)
    kept = max(ranked_GH.numel() - round(fraction * ranked_GH.numel()), len(ranked_GH))
    order = ranked_GH.flatten().argsort(descending=True, stable=True)
    keep = torch.zeros(ranked_GH.numel(), dtype=torch.bool)
    keep[order[:kept]] = True
    return keep.view(ranked_GH.shape)
