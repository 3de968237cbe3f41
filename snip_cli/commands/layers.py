"""Counts what a run's masks leave of each layer, for `snip-report --layers`."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from snip_cli import registry
from snip_cli.config import reading as configuration
from snip_cli.report.cells import Cell
from snip_cli.report.layers import Layer
from snip_cli.runfolder.results import LayerCount

if TYPE_CHECKING:
    from torch import Tensor, nn

    from snip_cli.pruning.mask import Mask

log = logging.getLogger("snip_cli")


def layers_of(cell: Cell) -> list[Layer]:
    """Return the layers of a cell, mean over its seeds; none where the cell has neither results with counts nor masks.

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
    model = built(cell)
    shapes = shapes_of(model, next(iter(masks.values()), {}))
    shares = shares_of(model, cell.settings["dataset.shape"]) if model is not None else {}
    effective = effective_counts(cell, model, masks, counts)
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
    cell: Cell, model: "nn.Module | None", masks: "Mapping[int, Mask]", counts: Mapping[int, Sequence[LayerCount]]
) -> dict[str, float]:
    """Return how many kept parameters of each layer lie on a path, mean over the seeds with masks, as far as it is known."""
    from snip_cli.compact.paths import Paths

    if all(layer.kept == layer.total for of_seed in counts.values() for layer in of_seed):
        return {layer.name: layer.total for layer in next(iter(counts.values()))}
    if model is None:
        return {}
    paths = Paths(model, tuple(cell.settings["dataset.shape"]))
    found = [on_path for mask in masks.values() if (on_path := paths.counts(mask)) is not None]
    names = found[0] if found else {}
    return {name: statistics.fmean(on_path[name] for on_path in found) for name in names}
