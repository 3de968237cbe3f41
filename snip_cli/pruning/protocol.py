"""What a pruning method that scores connections is: a function, registered by name.

    @methods.register("name")
    def name(model, batches, loss, generator, *, option: float = 1.0) -> dict[str, Tensor]: ...

It gives one score for every entry of every prunable parameter, by parameter name and in its shape; larger = keep. Its keyword-only
arguments are the options of its YAML. It leaves the model as it was. Choosing κ of the scores is not its business.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]
# (outputs, labels) → scalar, the mean over the batch.
Loss = Callable[[Tensor, Tensor], Tensor]


class ScoringMethod(Protocol):
    """Network, batches of (inputs, labels), loss and a generator for what is drawn → scores by parameter name."""

    def __call__(
        self, model: nn.Module, batches: Sequence[Batch], loss: Loss, generator: torch.Generator, **options: Any
    ) -> dict[str, Tensor]: ...
