"""LWC: learning both weights and connections (Han, Pool, Tran and Dally, NeurIPS 2015).

In each round a layer loses the weights below its threshold q·σ, where σ is the standard deviation of the weights that it has left. One
quality parameter q serves all layers: the one that leaves exactly κ parameters. The survivors are trained on at a tenth of the
learning rate, not rewound. Biases stay, as in the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.pruning.after_training.rounds import kept_before, round_mask, rounds_at_rate, weights_of
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Stage, Start, register
from snip_cli.pruning.options import option


@dataclass(frozen=True)
class LwcOptions:
    """How much a round removes, and how fast the rest is trained on."""

    rate: float = option(0.5, "part of the weights left that a round removes", above=0.0, below=1.0)
    retrain_rate: float = option(0.1, "learning rate after pruning, as a multiple of the schedule's", above=0.0)


@register(
    "lwc",
    stage=Stage.AFTER_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.MASK,
    options=LwcOptions,
    biases=Biases.KEPT,
    redraw=False,
    rounds=rounds_at_rate,
    retrain_rate=lambda options: options.retrain_rate,
)
def lwc(model: nn.Module, batches: Sequence[Batch], loss: Loss, request: Request, options: LwcOptions) -> Pruned:
    """Return the mask of one round: the weights with |w| above q·σ of their layer."""
    left = kept_before(model, request)
    scores = {name: weight.abs() / deviation(weight[left[name]]) for name, weight in weights_of(model).items()}
    return Pruned(round_mask(model, request, scores))


def deviation(weights: Tensor) -> Tensor:
    """Return the standard deviation of a layer's weights; 1 where all are equal, so that their magnitude decides."""
    spread = weights.std(correction=0) if weights.numel() else weights.new_zeros(())
    return torch.where(spread > 0, spread, 1)
