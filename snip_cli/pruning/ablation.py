"""Ablations that tell what of a mask matters (Su et al. 2020; Frankle et al. 2021): which entries of a layer, or only how many.

A third one, drawing the weights anew after pruning, is `method.redraw=true`.
"""

import torch
from torch import Tensor

from snip_cli.errors import ConfigError
from snip_cli.pruning.mask import Mask

SHUFFLE_LAYERS, INVERT = "shuffle_layers", "invert"


def shuffled_in_layers(mask: Mask, generator: torch.Generator) -> Mask:
    """A mask that keeps as many entries of every parameter, at places drawn at random by a CPU `generator`."""
    return {
        name: keep.flatten()[torch.randperm(keep.numel(), generator=generator).to(keep.device)].view_as(keep)
        for name, keep in mask.items()
    }


def inverted(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scores by which the entries that mattered least are kept."""
    return {name: -score for name, score in scores.items()}


def check_sanity(sanity: str, method: str, *, scores: bool) -> None:
    """Raise ConfigError where a method that gives no scores is asked to invert them."""
    if sanity == INVERT and not scores:
        raise ConfigError(
            f"method.sanity=invert keeps the lowest scores, and '{method}' gives none for single connections: use shuffle_layers."
        )
