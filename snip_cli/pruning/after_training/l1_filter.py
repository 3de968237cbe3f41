"""Removes whole filters by the L1 norm of their weights (Li et al., ICLR 2017): the plain baseline of structured pruning."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.after_training.layer_pairs import Pair, example_of, find_pairs, inference, inputs_per_channel
from snip_cli.pruning.mask import Mask
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Stage, Start, register
from snip_cli.pruning.options import NoOptions

log = logging.getLogger("snip_cli")


@dataclass(frozen=True)
class Filter:
    """One filter: its rank by norm within its layer, in (0, 1), and the pair whose child is its only reader."""

    rank: float
    channel: int
    pair: Pair


def check(model: nn.Module, example_1CHW: Tensor, options: NoOptions) -> None:
    """Raise ConfigError if the network has no pairs of layers to prune."""
    find_pairs(model, example_1CHW)


@register(
    "l1_filter",
    stage=Stage.AFTER_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.MASK,
    check=check,
    biases=Biases.GROUPED,
    redraw=False,
)
def l1_filter(model: nn.Module, batches: Iterable[Batch], loss: Loss, request: Request, options: NoOptions) -> Pruned:
    """Remove the filters with the smallest Σ|w|, the same part of every layer's.

    A filter is removed with its bias and with the weights of the next layer that read it, so that nothing of it is left. Only filters that
    a single layer reads can be removed: in residual networks those inside a block, as in the paper. Every layer keeps one filter. As many
    filters are removed as possible without exceeding the sparsity; a warning says if even all of them do not reach it.

    Raises ConfigError if the model has no such filters.
    """
    example = example_of(batches)
    sparsity = float(request.sparsity)
    parameters = prunable_parameters(model)
    pairs = [
        pair
        for pair in find_pairs(model, example)
        if f"{pair.parent}.weight" in parameters and is_only_reader(model, pair, example)
    ]
    if not pairs:
        raise ConfigError("The model has no filters that a single layer reads: choose another model or method.")
    filters = sorted((each for pair in pairs for each in ranked_filters(model, pair)), key=lambda each: each.rank)
    total = sum(parameter.numel() for parameter in parameters.values())
    count = most_filters(model, filters, total - round(total * (1 - sparsity)))
    mask = mask_without(model, filters[:count])
    reached = 1 - sum(int(keep.sum()) for keep in mask.values()) / total
    if count == len(filters) and sparsity > reached:
        log.warning(
            "sparsity=%s cannot be reached: removing all removable filters gives %.4f, which is used", sparsity, reached
        )
    report = {pair.parent: {"filters_removed": sum(each.pair == pair for each in filters[:count])} for pair in pairs}
    return Pruned(mask, report, {"sparsity_requested": sparsity, "sparsity_reached": reached})


def most_filters(model: nn.Module, filters: list[Filter], at_most: int) -> int:
    """Return how many of the first filters can be removed without removing more than `at_most` parameters."""
    low, high = 0, len(filters)
    while low < high:  # bisection: more filters never remove fewer parameters
        middle = (low + high + 1) // 2
        removed = sum(int((~keep).sum()) for keep in mask_without(model, filters[:middle]).values())
        low, high = (middle, high) if removed <= at_most else (low, middle - 1)
    return low


def is_only_reader(model: nn.Module, pair: Pair, example_1CHW: Tensor) -> bool:
    """Return whether only the child reads the parent's output, and the child reads nothing else.

    The answer comes from what autograd connects. With the child's input cut off, the parent must not reach the network's output; with the
    parent's output cut off, the network's input must not reach the child.
    """
    read: dict[str, Tensor] = {}

    def replace_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # A clone, because an in-place ReLU may overwrite the output.
        return output.detach().clone().requires_grad_(not cut_parent).clone()

    def cut_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        read["child"] = inputs[0]
        return (inputs[0].detach(),)

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    handles = [
        model.get_submodule(pair.parent).register_forward_hook(replace_output),
        model.get_submodule(pair.child).register_forward_pre_hook(cut_input),
    ]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        with inference(model), torch.enable_grad():
            cut_parent = True
            model(example_1CHW.detach().clone().requires_grad_())
            child_reads_more = read["child"].requires_grad
            cut_parent = False
            others_read_parent = model(example_1CHW).requires_grad
    finally:
        for handle in handles:
            handle.remove()
        for parameter in parameters:
            parameter.requires_grad_(True)
    return not (child_reads_more or others_read_parent)


def ranked_filters(model: nn.Module, pair: Pair) -> list[Filter]:
    """Return the filters of the pair's parent by rising norm, without the one with the largest."""
    norms_C = model.get_parameter(f"{pair.parent}.weight").detach().abs().flatten(1).sum(dim=1)
    order = norms_C.argsort(stable=True).tolist()
    return [Filter((place + 0.5) / len(order), channel, pair) for place, channel in enumerate(order[:-1])]


def mask_without(model: nn.Module, filters: Iterable[Filter]) -> Mask:
    """Return the mask that removes these filters."""
    mask = {
        name: torch.ones(parameter.shape, dtype=torch.bool) for name, parameter in prunable_parameters(model).items()
    }
    for each in filters:
        width = inputs_per_channel(model, each.pair)
        mask[f"{each.pair.parent}.weight"][each.channel] = False
        if f"{each.pair.parent}.bias" in mask:
            mask[f"{each.pair.parent}.bias"][each.channel] = False
        mask[f"{each.pair.child}.weight"][:, each.channel * width : (each.channel + 1) * width] = False
    return mask
