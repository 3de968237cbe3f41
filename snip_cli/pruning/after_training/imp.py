"""IMP: iterative magnitude pruning with rewinding.

Each round trains a network, removes the smallest weights, and rewinds what is left to an early iteration of the reference: to
iteration 0 as in Frankle & Carbin (ICLR 2019), or to a later one as in Frankle et al. (ICML 2020). Biases stay, as in both papers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from snip_cli.data.splits import Batch
from snip_cli.pruning.after_training.rounds import Sizes, round_mask, rounds_of, sizes_of, weights_of
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Stage, Start, register
from snip_cli.pruning.options import option


@dataclass(frozen=True)
class ImpOptions:
    """How much a round removes, where from, and which weights training restarts from."""

    scope: str = option(
        "layers", "layers: the same part of every layer; global: the smallest of all", choices=("layers", "global")
    )
    rate: float = option(0.2, "part of the weights left that a round removes", above=0.0, below=1.0)
    output_rate: float = option(0.1, "the same of the output layer, with scope=layers", above=0.0, below=1.0)
    rewind: int = option(0, "iteration of the reference whose weights training restarts from", at_least=0)


def sizes(model: nn.Module, options: ImpOptions) -> Sizes:
    """Return the sizes of `model`, which may lie on the meta device, with the part of each layer that a round removes."""
    return sizes_of(model, options.rate, options.output_rate if options.scope == "layers" else options.rate)


def rounds(model: nn.Module, sparsity: float, options: ImpOptions) -> list[float]:
    """Return the sparsities of the rounds before the last."""
    return rounds_of(sizes(model, options), sparsity, options.rate)


@register(
    "imp",
    stage=Stage.AFTER_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.MASK,
    options=ImpOptions,
    biases=Biases.KEPT,
    redraw=False,
    rounds=rounds,
    rewind=lambda options: options.rewind,
)
def imp(model: nn.Module, batches: Sequence[Batch], loss: Loss, request: Request, options: ImpOptions) -> Pruned:
    """Return the mask of one round: the largest of the weights that the round before kept, and every bias."""
    scores = {name: weight.abs() for name, weight in weights_of(model).items()}
    return Pruned(round_mask(model, request, scores, sizes(model, options) if options.scope == "layers" else None))
