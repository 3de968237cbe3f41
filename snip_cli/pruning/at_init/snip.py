"""SNIP: single-shot network pruning by connection sensitivity (Lee, Ajanthan, Torr, ICLR 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from snip_cli.data.splits import Batch
from snip_cli.pruning.at_init.sensitivity import sensitivity_of_batches
from snip_cli.pruning.method import Loss, Scores, Stage, register
from snip_cli.pruning.options import option


@dataclass(frozen=True)
class SnipOptions:
    """How the saliencies of several batches are combined (Section 4.2 of Lee et al. 2019); the paper uses one batch."""

    accumulate: str = option(
        "sum",
        "sum of the batches, or ema, their exponential moving average",
        choices=("sum", "ema"),
        hyperparameter=False,
    )
    ema_decay: float = option(
        0.9, "weight of the past in the moving average", at_least=0.0, below=1.0, hyperparameter=False
    )


@register("snip", stage=Stage.AT_INIT, options=SnipOptions, redraw=True)
def snip(
    model: nn.Module, batches: Sequence[Batch], loss: Loss, generator: torch.Generator, options: SnipOptions
) -> Scores:
    """Return the connection sensitivity of one batch, or of several, combined as the options say.

    Raises:
        RunError: every saliency of a weight is zero.
    """
    decay = options.ema_decay if options.accumulate == "ema" else None
    return sensitivity_of_batches(model, batches, loss, decay=decay)
