"""FORCE: foresight connection sensitivity (de Jorge et al., "Progressive skeletonization", ICLR 2021).

Each round scores every connection by |θ ⊙ ∂L/∂θ̄|, with the dense weights θ and the gradient at the pruned weights θ̄ = c ⊙ θ, so that a
removed connection can come back. Fewer are kept from round to round, along the paper's exponential schedule. One round is
SNIP. Biases are scored like weights, as in SNIP; the authors' code prunes weights alone. Several batches are combined as in SNIP, by the
sum of their scores, while the authors average gradients.
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
class ForceOptions:
    """How many rounds."""

    rounds: int = option(60, "rounds of scoring and removing; 1 is SNIP", at_least=1)


@register("force", stage=Stage.AT_INIT, gives=Gives.MASK, options=ForceOptions, redraw=False)
def force(model: nn.Module, batches: Iterable[Batch], loss: Loss, request: Request, options: ForceOptions) -> Pruned:
    """Return the mask of the last round; all rounds score with the same batches.

    Raises:
        RunError: every saliency of a round is zero.
    """
    parameters, read = prunable_parameters(model), list(batches)
    dense = {name: p.detach().clone() for name, p in parameters.items()}

    def score(mask: Mask) -> Scores:
        with masked(model, mask):
            return sensitivity_of_batches(model, read, loss, weights=dense)

    kept = kept_count(sum(p.numel() for p in parameters.values()), float(request.sparsity))
    return Pruned(prune_in_rounds(parameters, kept, options.rounds, score, revives=True), prunings=options.rounds)
