"""Counts what a run's masks leave of each layer, for `snip-report --layers`."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snip_cli import registry
from snip_cli.config import reading as configuration
from snip_cli.report.cells import Cell
from snip_cli.report.layers import Layer
from snip_cli.runfolder.results import LayerCount

if TYPE_CHECKING:
    from torch import Tensor, nn

    from snip_cli.compact.paths import Paths
    from snip_cli.pruning.mask import Mask

log = logging.getLogger("snip_cli")


@dataclass(frozen=True)
class Network:
    """What all masks of one network share: the network without weights, its layers' shares of the multiply-adds, and its paths, traced once."""

    model: "nn.Module"
    shares: Mapping[str, float]
    paths: "Paths"


# By the settings that make a network; None where it cannot be built here.
Networks = dict[str, Network | None]


def layers_of(cell: Cell, networks: Networks) -> list[Layer]:
    """Return the layers of a cell, mean over its seeds; none where the cell has neither results with counts nor masks.

    The cell's network is taken from `networks`, or added to them.
    A record without tensors has no masks, so effective densities are known only if nothing is pruned. The network is built again for shapes
    and multiply-adds, which are not known where it comes from a file of the user's own.
    """
    from snip_cli.pruning.mask import layer_counts
    from snip_cli.runfolder.checkpoint import load_masks

    masks = {seed: mask for folder in reversed(cell.folders) for seed, mask in load_masks(folder).items()}
    counts: dict[int, Sequence[LayerCount]] = {seed: layer_counts(mask) for seed, mask in masks.items()}
    counts |= {result.seed: result.layers for result in cell.results if result.layers}
    if not counts:
        return []
    network = network_of(cell, networks)
    shapes = shapes_of(network.model if network else None, next(iter(masks.values()), {}))
    shares = network.shares if network else {}
    effective = effective_counts(network, masks, counts)
    return [
        Layer(
            first.name,
            shapes.get(first.name, ""),
            first.total,
            statistics.fmean(of_seed[place].kept for of_seed in counts.values()),
            effective.get(first.name),
            shares.get(first.name),
        )
        for place, first in enumerate(next(iter(counts.values())))
    ]


def network_of(cell: Cell, networks: Networks) -> Network | None:
    """Return a cell's network from `networks`, after adding it where it is new."""
    from snip_cli.compact.paths import Paths

    made_by = {name: value for name, value in cell.settings.items() if name.startswith(("model", "dataset"))}
    key = repr(sorted(made_by.items()))
    if key not in networks:
        model, shape = built(cell), cell.settings["dataset.shape"]
        networks[key] = (
            Network(model, shares_of(model, shape), Paths(model, tuple(shape))) if model is not None else None
        )
    return networks[key]


def built(cell: Cell) -> "nn.Module | None":
    """Return a cell's network without memory for weights; None where it cannot be built here."""
    from snip_cli.models.building import weightless_model

    registry.load_builtin()
    try:
        return weightless_model(configuration.read(cell.folders[0] / "config.yaml"))
    except Exception as error:  # another version, or a user's network
        log.warning("shapes and multiply-adds of %s are not known here: %s", cell.settings["model"], error)
        return None


def shapes_of(model: "nn.Module | None", mask: "Mask") -> dict[str, str]:
    """Return the shapes of each layer's weights in words, by the layer's name: the network's or, where it is not known, the mask's."""
    from snip_cli.models.prunable import prunable_parameters

    tensors: Mapping[str, Tensor] = mask if model is None else prunable_parameters(model)
    shapes: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.dim() > 1:
            shapes.setdefault(name.rpartition(".")[0], []).append("×".join(map(str, tensor.shape)))
    return {name: ", ".join(of_layer) for name, of_layer in shapes.items()}


def shares_of(model: "nn.Module", shape: Sequence[int]) -> dict[str, float]:
    """Return the fraction of the multiply-adds of a forward pass that is each prunable layer's; none where they cannot be counted."""
    from snip_cli.compact.measure import multiply_accumulates_by_layer

    try:
        counts = multiply_accumulates_by_layer(model, tuple(shape))
    except Exception as error:  # a user's forward pass may raise anything when it is given no numbers
        log.warning("the multiply-adds of a network are not known: %s", error)
        return {}
    total = counts.pop("")
    return {name: count / total for name, count in counts.items()} if total else {}


def effective_counts(
    network: Network | None, masks: "Mapping[int, Mask]", counts: Mapping[int, Sequence[LayerCount]]
) -> dict[str, float]:
    """Return how many kept parameters of each layer lie on a path, mean over the seeds with masks, as far as it is known."""
    if all(layer.kept == layer.total for of_seed in counts.values() for layer in of_seed):
        return {layer.name: layer.total for layer in next(iter(counts.values()))}
    if network is None:
        return {}
    found = [on_path for mask in masks.values() if (on_path := network.paths.counts(mask)) is not None]
    names = found[0] if found else {}
    return {name: statistics.fmean(on_path[name] for on_path in found) for name in names}
