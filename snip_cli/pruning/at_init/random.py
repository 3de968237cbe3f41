"""Random pruning: the baseline that keeps κ connections drawn at random."""

from collections.abc import Sequence

import torch
from torch import nn

from snip_cli.data.splits import Batch
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.method import Loss, Scores, Stage, register
from snip_cli.pruning.options import NoOptions


@register("random", stage=Stage.AT_INIT, redraw=True)
def random(
    model: nn.Module, batches: Sequence[Batch], loss: Loss, generator: torch.Generator, options: NoOptions
) -> Scores:
    """Return scores drawn uniformly from [0, 1), in double precision on the CPU, so that every device gets the same."""
    return {
        name: torch.rand(p.shape, generator=generator, dtype=torch.float64)
        for name, p in prunable_parameters(model).items()
    }
