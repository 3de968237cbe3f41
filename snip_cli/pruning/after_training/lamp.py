"""LAMP: layer-adaptive magnitude-based pruning (Lee et al., "Layer-adaptive sparsity for the magnitude-based pruning", ICLR 2021).

A weight's score is w² / Σ v², its square divided by the sum over the weights v of its layer with |v| ≥ |w|, itself included. The largest
score of a layer is 1, so every layer keeps a weight. Biases are kept, as in the authors' code: as layers of their own, each would keep its largest entry.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.method import Biases, Loss, Scores, Stage, Start, register
from snip_cli.pruning.options import NoOptions


@register("lamp", stage=Stage.AFTER_TRAINING, starts_from=Start.TRAINED, biases=Biases.KEPT, redraw=False)
def lamp(
    model: nn.Module, batches: Sequence[Batch], loss: Loss, generator: torch.Generator, options: NoOptions
) -> Scores:
    """Return the LAMP score of every weight, and 0 for biases, which are kept."""
    return {
        name: lamp_scores(p.detach()) if p.dim() > 1 else torch.zeros_like(p)
        for name, p in prunable_parameters(model).items()
    }


def lamp_scores(weight: Tensor) -> Tensor:
    """Return w² / Σ of the squares that are not smaller, in [0, 1] and float64; of equal weights the earlier counts as larger."""
    squares = weight.double().flatten().square()
    order = squares.argsort(descending=True, stable=True)
    falling = squares[order]
    scores = torch.empty_like(falling)
    scores[order] = torch.where(falling > 0, falling / falling.cumsum(0), 0.0)
    return scores.view_as(weight)
