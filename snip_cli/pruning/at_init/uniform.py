"""Random pruning with the same density in every layer: the baseline of Evci et al., "Rigging the lottery", ICML 2020, Section 3.

The paper's version leaves the first layer of a network dense; this one does not, so that every layer has the same density.
"""

from collections.abc import Iterable

from torch import nn

from snip_cli.data.splits import Batch
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.densities import random_mask
from snip_cli.pruning.mask import kept_count
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Stage, register
from snip_cli.pruning.options import NoOptions


@register("uniform", stage=Stage.AT_INIT, gives=Gives.MASK, biases=Biases.KEPT, redraw=True)
def uniform(model: nn.Module, batches: Iterable[Batch], loss: Loss, request: Request, options: NoOptions) -> Pruned:
    """Keep weights drawn at random, the same share of every layer's, and every bias."""
    parameters = prunable_parameters(model)
    kept = kept_count(sum(p.numel() for p in parameters.values()), float(request.sparsity))
    return Pruned(random_mask(parameters, kept, "uniform", request.generator))
