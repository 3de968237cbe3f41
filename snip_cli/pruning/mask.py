"""The mask: one bool tensor per prunable parameter, True = kept, and what is done with it."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snip_cli.config.sections import check_sparsity
from snip_cli.errors import ConfigError, RunError
from snip_cli.models.prunable import (
    prunable_parameters as prunable_parameters,  # where methods of one's own import it from
)

Mask = dict[str, Tensor]


def kept_count(total: int, sparsity: float) -> int:
    """κ, the number of parameters that stay of `total`, as the released code rounds it.

    Raises ConfigError where `sparsity`, a number, lies outside [0, 1) or leaves nothing.
    """
    check_sparsity(sparsity)
    kept = round(total * (1 - sparsity))
    if kept < 1:
        highest = math.floor((1 - 1 / total) * 1e6) / 1e6
        raise ConfigError(f"sparsity={sparsity} keeps none of the {total:,} parameters: choose at most {highest}.")
    return kept


def top_mask(scores: Mapping[str, Tensor], kept: int) -> Mask:
    """Keep exactly `kept` entries, those with the largest score over all parameters; of equal ones the earlier (Eq. 7, Lee et al. 2019).

    The least of the `kept` largest, then its ties filled in order; not a sort. Which entries stay depends on the scores alone, on no device's tie order.

    Raises RunError where a score is not finite.
    """
    for name, score in scores.items():
        if not torch.isfinite(score).all():
            raise RunError(
                f"The scores of {name} are not finite: use a smaller init, another saliency batch or dtype=float64."
            )
    flat = torch.cat([score.detach().flatten() for score in scores.values()])
    total = flat.numel()
    assert 1 <= kept <= total
    # Not `kthvalue`, whose index (which nobody reads) made earlier versions of PyTorch refuse it under deterministic=true on a GPU.
    threshold = flat.topk(kept, sorted=False).values.min()
    keep = flat > threshold
    ties = (flat == threshold).nonzero().squeeze(1)
    keep[ties[: kept - int(keep.sum())]] = True
    parts = keep.split([score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


@torch.no_grad()
def apply_mask(model: nn.Module, mask: Mapping[str, Tensor]) -> None:
    """Set every pruned parameter of `model` to zero.

    Raises ConfigError where the mask names a parameter that the model lacks or that has another shape.
    """
    parameters = dict(model.named_parameters())
    for name, keep in mask.items():
        if name not in parameters or parameters[name].shape != keep.shape:
            raise ConfigError(f"The mask does not fit the model at '{name}': it was made for another architecture.")
        parameters[name].mul_(keep.to(parameters[name].device))


def layer_counts(mask: Mapping[str, Tensor]) -> list[dict[str, str | int]]:
    """Per layer its name, total and kept parameters (weights and biases together), in the model's order."""
    layers: dict[str, list[int]] = {}
    for name, keep in mask.items():
        layer = layers.setdefault(name.rpartition(".")[0], [0, 0])
        layer[0] += keep.numel()
        layer[1] += int(keep.sum())
    return [{"name": name, "total": total, "kept": kept} for name, (total, kept) in layers.items()]


def weight_counts(mask: Mapping[str, Tensor]) -> dict[str, int]:
    """How many weights there are and how many of them are kept, without biases: what SNACS and MINT count."""
    weights = [keep for keep in mask.values() if keep.dim() > 1]
    return {
        "weights_total": sum(keep.numel() for keep in weights),
        "weights_kept": sum(int(keep.sum()) for keep in weights),
    }
