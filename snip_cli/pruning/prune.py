"""Model, data, loss → mask, by any registered method."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from snip_cli import registry
from snip_cli.config.sections import AUTO, check_sparsity
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.ablation import INVERT, SHUFFLE_LAYERS, check_sanity, inverted, shuffled_in_layers
from snip_cli.pruning.mask import Mask, kept_count, top_mask
from snip_cli.pruning.method import Batch, Loss, Pruned, Sparsity, chooses, takes_auto
from snip_cli.runfolder.steps import Steps


def prune(
    model: nn.Module,
    batch: Batch | Sequence[Batch],
    loss: Loss,
    *,
    method: str = "snip",
    sparsity: Sparsity = 0.9,
    generator: torch.Generator | None = None,
    **options: object,
) -> Mask:
    """The mask by parameter name that removes `sparsity` of the model's m prunable parameters.

    A method that scores connections keeps exactly κ = round(m · (1 − sparsity)); one that removes whole groups of them comes as near to
    that as its groups and limits allow. The model is left as it is, weights, gradients, modes and buffers; `apply_mask(model, mask)`
    zeroes what the mask prunes.

    Args:
        model: any module with convolution, linear or recurrent layers.
        batch: (inputs, labels) on the model's device, or a list of such batches.
        loss: (outputs, labels) → scalar, the mean over the batch, for example `torch.nn.functional.cross_entropy`.
        method: name of a registered method; `options` are its own.
        sparsity: fraction of the prunable parameters to remove, in [0, 1), or `auto` where the method finds it.
        generator: for methods that draw; a fixed one is taken where none is given.

    Raises:
        ConfigError: unknown method or option, a sparsity out of range, or a model that the method does not fit.
        RunError: a score is not finite.
    """
    registry.load_builtin()
    registry.methods.check_options(method, options)
    # A DataLoader gives one batch as a list of two tensors.
    batches = [batch] if isinstance(batch, tuple | list) and isinstance(batch[0], Tensor) else batch
    generator = generator or torch.Generator().manual_seed(0)
    return prune_in_steps(model, batches, loss, method, sparsity, generator, Steps(), options).mask


def prune_in_steps(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: Loss,
    method: str,
    sparsity: Sparsity,
    generator: torch.Generator,
    steps: Steps,
    options: Mapping[str, object],
    sanity: str = "none",
) -> Pruned:
    """`prune` with what the method tells, with steps that are kept, and with an ablation of `snip_cli.pruning.ablation`; the options have been checked."""
    parameters = prunable_parameters(model)
    kept = check_request(method, sum(p.numel() for p in parameters.values()), sparsity)
    function = registry.methods[method]
    check_sanity(sanity, method, scores=not chooses(function))
    if chooses(function):
        pruned = function(model, batches, loss, generator, sparsity, steps, **options)
    else:
        assert kept is not None
        scores = function(model, list(batches), loss, generator, **options)
        check_scores(method, scores, parameters)
        scores = inverted(scores) if sanity == INVERT else scores
        pruned = Pruned(top_mask({name: scores[name] for name in parameters}, kept))
    return replace(pruned, mask=shuffled_in_layers(pruned.mask, generator)) if sanity == SHUFFLE_LAYERS else pruned


def check_request(method: str, total: int, sparsity: Sparsity) -> int | None:
    """κ for a model of `total` prunable parameters, None where the method finds it.

    Raises ConfigError where there is nothing to prune, nothing would be left, or the method does not take `sparsity`.
    """
    if total == 0:
        raise ConfigError(
            f"method '{method}' does not fit this model: it has no convolution, linear or recurrent layer to prune."
        )
    check_sparsity(sparsity)
    if sparsity != AUTO:
        return kept_count(total, float(sparsity))
    if not takes_auto(registry.methods[method]):
        able = ", ".join(name for name in registry.methods.names() if takes_auto(registry.methods[name]))
        raise ConfigError(
            f"method '{method}' does not find by itself how much can go: give sparsity a number in [0, 1), or choose one that does ({able})."
        )
    return None


def check_scores(method: str, scores: dict[str, Tensor], parameters: dict[str, nn.Parameter]) -> None:
    """Raise ConfigError unless there is one score for every prunable parameter's every entry."""
    for name, parameter in parameters.items():
        if name not in scores or scores[name].shape != parameter.shape:
            raise ConfigError(
                f"method '{method}' does not fit this model: it gives no scores of shape {tuple(parameter.shape)} for '{name}'."
            )
