"""Which connections go: one threshold over the scores of all layers, within each layer's limit, around what is exempt.

A connection is the weights between a group of parent channels and a group of child channels; per child layer scores_GH, weights_GH (how
many weights a connection has), spared_GH and protected_GH have G child and H parent groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """One layer's connections: scores_GH (finite; larger = keep), weights_GH (positive), what part of the weights may go at most (in
    [0, 1]), and which connections may not go at all: `spared` ones, as when the limit was found, and `protected` ones."""

    scores: Tensor
    weights: Tensor
    limit: float
    spared: Tensor
    protected: Tensor

    def removable(self) -> Tensor:
        """The flat places of the connections that may go, the weakest first: those within the limit that are not protected.

        What a protected connection would have lost is not taken from others: they would lose more than the limit was found for.
        """
        scores, weights = self.scores.flatten(), self.weights.flatten()
        order = scores.argsort(stable=True)
        order = order[~self.spared.flatten()[order]]
        order = order[weights[order].cumsum(0) <= self.limit * weights.sum() * (1 + 1e-12)]
        return order[~self.protected.flatten()[order]]


def select(layers: Mapping[str, Layer], at_most: int | None) -> dict[str, Tensor]:
    """What stays: a bool tensor G×H for each layer, True = kept.

    Connections go by rising score over all layers, of equal ones those of the earlier layer and place first, until the next would
    remove more than `at_most` weights; every layer stops at its limit. With None every layer is pruned to its limit.
    """
    removable = {name: layer.removable() for name, layer in layers.items()}
    if at_most is not None:
        removable = _weakest(layers, removable, at_most)
    kept = {}
    for name, layer in layers.items():
        keep = torch.ones(layer.scores.numel(), dtype=torch.bool)
        keep[removable[name]] = False
        kept[name] = keep.view(layer.scores.shape)
    return kept


def _weakest(layers: Mapping[str, Layer], removable: Mapping[str, Tensor], at_most: int) -> dict[str, Tensor]:
    """Of what may go the connections with the lowest scores, `at_most` weights of them."""
    scores = torch.cat([layers[name].scores.flatten()[places] for name, places in removable.items()])
    weights = torch.cat([layers[name].weights.flatten()[places] for name, places in removable.items()])
    order = scores.argsort(stable=True)
    goes = torch.zeros(len(scores), dtype=torch.bool)
    goes[order[weights[order].cumsum(0) <= at_most]] = True
    parts = goes.split([len(places) for places in removable.values()])
    return {name: places[part] for (name, places), part in zip(removable.items(), parts, strict=True)}
