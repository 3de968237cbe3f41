"""Magnitude pruning at initialisation: the baseline that keeps the largest initial weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.method import Batch, Loss
from snip_cli.registry import methods


@methods.register("magnitude")
def magnitude(model: nn.Module, batches: Sequence[Batch], loss: Loss, generator: torch.Generator) -> dict[str, Tensor]:
    """Scores: |w| of the initial weights. Biases start at zero and so go first."""
    return {name: p.detach().abs() for name, p in prunable_parameters(model).items()}
