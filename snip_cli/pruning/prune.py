"""Model, batches, loss → mask, by any registered method that needs no training in between."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from snip_cli.config.sections import AUTO, check_sparsity
from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import PRUNABLE_LAYERS, prunable_parameters
from snip_cli.pruning.ablation import INVERT, SHUFFLE_LAYERS, check_ablation, invert, shuffle_layers
from snip_cli.pruning.mask import kept_count, top_mask, top_mask_of_weights
from snip_cli.pruning.method import (
    Biases,
    Gives,
    Loss,
    Method,
    Pruned,
    Request,
    Scores,
    Sparsity,
    methods_that_find_sparsity,
)


def run_method(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: Loss,
    method: Method,
    request: Request,
    options: Mapping[str, Any],
    ablation: str = "none",
) -> Pruned:
    """Return the mask that `method` finds, changed by an ablation of `snip_cli.pruning.ablation`, and what the method reports."""
    kept = check_request(method, model, request.sparsity)
    if ablation != "none":
        check_ablation(ablation, method)
    chosen = method.read_options(options)
    if method.gives is Gives.MASK:
        pruned: Pruned = method.function(model, batches, loss, request, chosen)
    else:
        assert kept is not None
        scores: Scores = method.function(model, list(batches), loss, request.generator, chosen)
        parameters = prunable_parameters(model)
        check_scores(method.name, scores, parameters)
        scores = invert(scores) if ablation == INVERT else scores
        choose = top_mask_of_weights if method.biases is Biases.KEPT else top_mask
        pruned = Pruned(choose({name: scores[name] for name in parameters}, kept))
    if ablation == SHUFFLE_LAYERS:
        return replace(pruned, mask=shuffle_layers(pruned.mask, request.generator), weights={})
    return pruned


def check_request(method: Method, model: nn.Module, sparsity: Sparsity) -> int | None:
    """Return κ for `model`, which may lie on the meta device; None if the method finds it.

    Raises:
        ConfigError: there is nothing to prune, nothing would be left, a parameter is complex, or the method does not take this sparsity.
    """
    parameters = prunable_parameters(model)
    for name, parameter in parameters.items():
        if parameter.is_complex():
            raise ConfigError(
                f"method '{method.name}' does not fit this model: {name} holds complex numbers, and methods score real ones. Freeze it with requires_grad_(False), or name the other parameters with prunable=[...]."
            )
    total = sum(parameter.numel() for parameter in parameters.values())
    if total == 0:
        frozen = any(isinstance(layer, PRUNABLE_LAYERS) for layer in model.modules())
        raise ConfigError(
            f"method '{method.name}' does not fit this model: "
            + (
                "all parameters that could be pruned are frozen. Call model.requires_grad_() first."
                if frozen
                else "it has no convolution, linear or recurrent layer to prune."
            )
        )
    check_sparsity(sparsity)
    if sparsity == AUTO:
        if method.finds_sparsity:
            return None
        able = ", ".join(methods_that_find_sparsity())
        raise ConfigError(
            f"sparsity=auto does not work with method '{method.name}', which needs a number in [0, 1): give one, or choose a method that finds the sparsity itself ({able})."
        )
    kept = kept_count(total, float(sparsity))
    biases = sum(parameter.numel() for parameter in parameters.values() if parameter.dim() == 1)
    if method.biases is Biases.KEPT and method.keeps_exactly and kept < biases:
        highest = int((1 - biases / total) * 1e6) / 1e6
        raise ConfigError(
            f"sparsity={sparsity} keeps {kept:,} of {total:,} parameters, but method '{method.name}' keeps all {biases:,} biases: choose at most {highest}."
        )
    return kept


def check_scores(method: str, scores: Scores, parameters: Mapping[str, nn.Parameter]) -> None:
    """Raise ConfigError unless there is one score for every entry of every prunable parameter."""
    for name, parameter in parameters.items():
        if name not in scores or scores[name].shape != parameter.shape:
            raise ConfigError(
                f"method '{method}' does not fit this model: it gives no scores of shape {tuple(parameter.shape)} for '{name}'."
            )
