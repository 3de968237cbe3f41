"""The mask: one bool tensor per prunable parameter, True = kept. How it is chosen from scores, applied and counted."""

import io
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snip_cli.config.sections import check_sparsity
from snip_cli.errors import ConfigError, RunError
from snip_cli.models.effective import mask_effective

# The README imports it from here.
from snip_cli.models.prunable import prunable_parameters as prunable_parameters
from snip_cli.pruning.fitting import fit
from snip_cli.runfolder.results import LayerCount

Mask = dict[str, Tensor]


def kept_count(total: int, sparsity: float) -> int:
    """Return κ, the number of parameters to keep of `total`, rounded as the released code does.

    Raises:
        ConfigError: `sparsity` is not in [0, 1), or nothing would be kept.
    """
    check_sparsity(sparsity)
    kept = round(total * (1 - sparsity))
    if kept < 1:
        highest = math.floor((1 - 1 / total) * 1e6) / 1e6
        raise ConfigError(f"sparsity={sparsity} keeps none of the {total:,} parameters: choose at most {highest}.")
    return kept


def top_mask(scores: Mapping[str, Tensor], kept: int) -> Mask:
    """Return the mask of the `kept` largest scores over all parameters (Eq. 7, Lee et al. 2019); of equal scores the earlier is kept.

    Ties are filled in order and not left to a sort, so that the mask depends on the scores alone and not on the device.

    Args:
        scores: one tensor per parameter, any shapes.
        kept: from 0 to the number of scores.

    Raises:
        RunError: a score is not finite.
    """
    for name, score in scores.items():
        if not torch.isfinite(score).all():
            raise RunError(
                f"The scores of {name} are not finite: use a smaller init, another saliency batch or dtype=float64."
            )
    assert 0 <= kept <= sum(score.numel() for score in scores.values())
    if kept == 0:
        return {name: torch.zeros_like(score, dtype=torch.bool) for name, score in scores.items()}
    flat = torch.cat([score.detach().flatten() for score in scores.values()])
    # `kthvalue` also returns an index, which earlier versions of PyTorch refuse on a GPU under deterministic=true.
    threshold = flat.topk(kept, sorted=False).values.min()
    keep = flat > threshold
    ties = (flat == threshold).nonzero().squeeze(1)
    keep[ties[: kept - int(keep.sum())]] = True
    parts = keep.split([score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


def top_mask_of_weights(scores: Mapping[str, Tensor], kept: int) -> Mask:
    """Return the mask of every bias and of the weights with the largest scores, `kept` parameters in all; the biases' scores do not matter."""
    biases = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items() if score.dim() == 1}
    weights = {name: score for name, score in scores.items() if name not in biases}
    chosen = top_mask(weights, kept - sum(keep.numel() for keep in biases.values()))
    return {name: biases[name] if name in biases else chosen[name] for name in scores}


@torch.no_grad()
def apply_mask(model: nn.Module, mask: Mapping[str, Tensor]) -> None:
    """Set every pruned parameter of `model` to zero.

    A parametrized weight gets a further parametrization, which sets the pruned entries of its effective value to zero.

    Raises:
        ConfigError: the mask names a parameter that the model lacks, or whose shape is another. Nothing is set then.
    """
    for place, keep in fit(model, mask):
        if parametrize.is_parametrized(place.layer, place.name):
            mask_effective(place.layer, place.name, keep)
        else:
            parameter = getattr(place.layer, place.name)
            parameter.mul_(keep.to(parameter.device))


def layer_counts(mask: Mapping[str, Tensor]) -> list[LayerCount]:
    """Return each layer's name and its total and kept parameters (weights and biases together), in the model's order."""
    layers: dict[str, list[int]] = {}
    for name, keep in mask.items():
        layer = layers.setdefault(name.rpartition(".")[0], [0, 0])
        layer[0] += keep.numel()
        layer[1] += int(keep.sum())
    return [LayerCount(name, total, kept) for name, (total, kept) in layers.items()]


def weight_counts(mask: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the number of weights and of kept weights, without biases, as SNACS and MINT count."""
    weights = [keep for keep in mask.values() if keep.dim() > 1]
    return {
        "weights_total": sum(keep.numel() for keep in weights),
        "weights_kept": sum(int(keep.sum()) for keep in weights),
    }


def sparse_megabytes(weights: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> float:
    """Return the size in MiB of the masked weights, without biases and batch-norm, as the authors of SNACS and MINT count.

    Each weight is stored as a zip-compressed sparse matrix, outputs × the rest.

    Args:
        weights: the trained network's parameters by name, on the CPU; it may hold more than `mask`.
        mask: the prunable parameters by name.
    """
    from scipy.sparse import csr_matrix, save_npz

    total = 0
    for name, keep in mask.items():
        if keep.dim() > 1:
            file = io.BytesIO()
            save_npz(file, csr_matrix(weights[name].flatten(1).numpy()))
            total += file.getbuffer().nbytes
    return total / 2**20
