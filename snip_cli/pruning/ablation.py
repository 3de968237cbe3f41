"""Ablations that show what matters in a mask (Su et al. 2020; Frankle et al. 2021): which entries of a layer, or only how many.

A third one, drawing the weights anew after pruning, is `method.redraw=true`.
"""

import torch

from snip_cli.errors import ConfigError
from snip_cli.pruning.mask import Mask
from snip_cli.pruning.method import Gives, Method, Scores

SHUFFLE_LAYERS, INVERT = "shuffle_layers", "invert"


def shuffle_layers(mask: Mask, generator: torch.Generator) -> Mask:
    """Return a mask that keeps as many entries of every parameter, at places drawn at random by a CPU `generator`."""
    return {
        name: keep.flatten()[torch.randperm(keep.numel(), generator=generator).to(keep.device)].view_as(keep)
        for name, keep in mask.items()
    }


def invert(scores: Scores) -> Scores:
    """Return scores that keep the entries with the lowest original scores."""
    return {name: -score for name, score in scores.items()}


def check_ablation(ablation: str, method: Method) -> None:
    """Raise ConfigError if the ablation makes no sense for the method."""
    if ablation == INVERT and method.gives is not Gives.SCORES:
        remedy = "leave it out" if method.gives is Gives.PRUNER else "use method.ablation=shuffle_layers"
        raise ConfigError(
            f"method.ablation=invert keeps the lowest scores, but method '{method.name}' does not score single connections: {remedy}."
        )
    if ablation == SHUFFLE_LAYERS and method.gives is Gives.PRUNER:
        raise ConfigError(
            f"method.ablation=shuffle_layers shuffles a finished mask, but method '{method.name}' changes the mask while training: leave it out."
        )
