"""Model, data, loss → mask, by any registered method that scores connections."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snip_cli import registry
from snip_cli.errors import ConfigError
from snip_cli.pruning.mask import Mask, kept_count, prunable_parameters, top_mask
from snip_cli.pruning.protocol import Batch, Loss


def prune(
    model: nn.Module,
    batch: Batch | Sequence[Batch],
    loss: Loss,
    *,
    method: str = "snip",
    sparsity: float = 0.9,
    generator: torch.Generator | None = None,
    **options: object,
) -> Mask:
    """The mask by parameter name that keeps exactly κ = round(m · (1 − sparsity)) of the model's m prunable parameters.

    The model is left as it is, weights, gradients, modes and buffers; `apply_mask(model, mask)` zeroes what the mask prunes.

    Args:
        model: any module with convolution, linear or recurrent layers.
        batch: (inputs, labels) on the model's device, or a list of such batches.
        loss: (outputs, labels) → scalar, the mean over the batch, for example `torch.nn.functional.cross_entropy`.
        method: name of a registered method; `options` are its own.
        sparsity: fraction of the prunable parameters to remove, in [0, 1).
        generator: for methods that draw; a fixed one is taken where none is given.

    Raises:
        ConfigError: unknown method or option, a sparsity out of range, or a model that the method does not fit.
        RunError: a score is not finite.
    """
    registry.load_builtin()
    registry.methods.check_options(method, options)
    parameters = prunable_parameters(model)
    total = sum(p.numel() for p in parameters.values())
    if total == 0:
        raise ConfigError(
            f"method '{method}' does not fit this model: it has no convolution, linear or recurrent layer to prune."
        )
    kept = kept_count(total, sparsity)
    # A DataLoader gives one batch as a list of two tensors.
    batches = [batch] if isinstance(batch[0], Tensor) else list(batch)
    generator = generator or torch.Generator().manual_seed(0)
    scores = registry.methods[method](model, batches, loss, generator, **options)
    check_scores(method, scores, parameters)
    return top_mask({name: scores[name] for name in parameters}, kept)


def check_scores(method: str, scores: dict[str, Tensor], parameters: dict[str, nn.Parameter]) -> None:
    """Raise ConfigError unless there is one score for every prunable parameter's every entry."""
    for name, parameter in parameters.items():
        if name not in scores or scores[name].shape != parameter.shape:
            raise ConfigError(
                f"method '{method}' does not fit this model: it gives no scores of shape {tuple(parameter.shape)} for '{name}'."
            )
