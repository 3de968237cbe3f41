"""Random pruning with Erdős-Rényi-kernel densities: small layers keep more (Evci et al., "Rigging the lottery", ICML 2020, Section 3)."""

from collections.abc import Iterable

from torch import nn

from snip_cli.data.splits import Batch
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.densities import random_mask
from snip_cli.pruning.mask import kept_count
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Stage, register
from snip_cli.pruning.options import NoOptions


@register("erk", stage=Stage.AT_INIT, gives=Gives.MASK, biases=Biases.KEPT, redraw=True)
def erk(model: nn.Module, batches: Iterable[Batch], loss: Loss, request: Request, options: NoOptions) -> Pruned:
    """Keep weights drawn at random, in each layer a share min(1, ε · Σ shape / Π shape) of them, and every bias, as in the paper."""
    parameters = prunable_parameters(model)
    kept = kept_count(sum(p.numel() for p in parameters.values()), float(request.sparsity))
    return Pruned(random_mask(parameters, kept, "erk", request.generator))
