"""Iterative SNIP: connection sensitivity in rounds (de Jorge et al., "Progressive skeletonization", ICLR 2021).

Each round removes the connections with the lowest |θ ⊙ ∂L/∂θ| in the network that the rounds before have left, along the exponential
schedule of the paper. What is removed stays removed. One round is SNIP. Biases are scored like weights, as in SNIP; the authors'
code prunes weights alone. Several batches are combined as in SNIP, by the sum of their scores, while the authors average gradients.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from snip_cli.data.splits import Batch
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.at_init.rounds import masked, prune_in_rounds
from snip_cli.pruning.at_init.sensitivity import sensitivity_of_batches
from snip_cli.pruning.mask import Mask, kept_count
from snip_cli.pruning.method import Gives, Loss, Pruned, Request, Scores, Stage, register
from snip_cli.pruning.options import option


@dataclass(frozen=True)
class IterSnipOptions:
    """How many rounds."""

    rounds: int = option(60, "rounds of scoring and removing; 1 is SNIP", at_least=1)


@register("iter_snip", stage=Stage.AT_INIT, gives=Gives.MASK, options=IterSnipOptions, redraw=False)
def iter_snip(
    model: nn.Module, batches: Iterable[Batch], loss: Loss, request: Request, options: IterSnipOptions
) -> Pruned:
    """Return the mask of the last round; all rounds score with the same batches.

    Raises:
        RunError: every saliency of a round is zero.
    """
    parameters, read = prunable_parameters(model), list(batches)

    def score(mask: Mask) -> Scores:
        with masked(model, mask):
            return sensitivity_of_batches(model, read, loss)

    kept = kept_count(sum(p.numel() for p in parameters.values()), float(request.sparsity))
    return Pruned(prune_in_rounds(parameters, kept, options.rounds, score), prunings=options.rounds)
