"""What methods share that prune weights and keep every bias: the best weights at exactly κ, and weights that stay alive behind a mask."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import Mask, top_mask


def prunable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the prunable parameters that are no biases, by name."""
    return {name: parameter for name, parameter in prunable_parameters(model).items() if parameter.dim() > 1}


class KeptBiases:
    """The masks of a model that keep every bias."""

    def __init__(self, model: nn.Module) -> None:
        parameters = prunable_parameters(model)
        self._biases = {name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items() if p.dim() == 1}
        self._count = sum(keep.numel() for keep in self._biases.values())
        self._total = sum(parameter.numel() for parameter in parameters.values())

    def mask(self, weights: Mapping[str, Tensor]) -> Mask:
        """Return the mask that keeps the weights where `weights` is True, and every bias."""
        return {**weights, **self._biases}

    def top(self, scores: Mapping[str, Tensor], kept: int) -> Mask:
        """Return the mask of exactly `kept` parameters: every bias, and the weights with the largest scores."""
        # The trainer reports weights that are not finite.
        return self.mask(top_mask({name: score.nan_to_num() for name, score in scores.items()}, kept - self._count))

    def found(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the facts of a method that by itself would keep the weights where `weights` is True."""
        kept = self._count + sum(int(keep.sum()) for keep in weights.values())
        return {"kept_found": kept, "sparsity_found": 1 - kept / self._total}


def straight_through(weight: Tensor, keep: Tensor) -> Tensor:
    """Return the weights with zeros where `keep` is False; the gradient passes as if all were kept."""
    return weight + (weight * keep - weight).detach()


def load_into(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Give tensors the values that a checkpoint has for them, by name."""
    for name, tensor in tensors.items():
        tensor.detach().copy_(state[name])
