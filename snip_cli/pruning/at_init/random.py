"""Random pruning: the baseline that keeps κ connections drawn at random."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.method import Batch, Loss
from snip_cli.registry import methods


@methods.register("random")
def random(model: nn.Module, batches: Sequence[Batch], loss: Loss, generator: torch.Generator) -> dict[str, Tensor]:
    """Scores: uniform in [0, 1), drawn in double precision on the CPU, the same for every device."""
    return {
        name: torch.rand(p.shape, generator=generator, dtype=torch.float64)
        for name, p in prunable_parameters(model).items()
    }
