"""Magnitude pruning: the baseline that keeps the largest weights."""

from collections.abc import Sequence

import torch
from torch import nn

from snip_cli.data.splits import Batch
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.method import Loss, Scores, Stage, register
from snip_cli.pruning.options import NoOptions


@register("magnitude", stage=Stage.AT_INIT, redraw=False)
def magnitude(
    model: nn.Module, batches: Sequence[Batch], loss: Loss, generator: torch.Generator, options: NoOptions
) -> Scores:
    """Return |w| as scores. At initialisation biases are zero, so they are removed first."""
    return {name: p.detach().abs() for name, p in prunable_parameters(model).items()}
