"""Whole filters by the L1 norm of their weights (Li et al., ICLR 2017), the plain baseline of structured pruning."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.after_training.snacs.layers import inference
from snip_cli.pruning.after_training.snacs.pairs import Pair, find_pairs, inputs_per_channel
from snip_cli.pruning.mask import Mask
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Stage, Start, register
from snip_cli.pruning.options import NoOptions
from snip_cli.runfolder.steps import Steps

log = logging.getLogger("snip_cli")


@dataclass(frozen=True)
class Filter:
    """One filter: its place among those of its layer by norm, in (0, 1), and the pair through which alone it acts."""

    rank: float
    channel: int
    pair: Pair


def l1_filter(
    model: nn.Module, batches: Iterable[Batch], loss: Loss, generator: torch.Generator, sparsity: float, steps: Steps
) -> Pruned:
    """The mask that removes the filters with the smallest Σ|w|, the same part of every layer's.

    A filter goes with its bias and with the weights of the next layer that read it, so that nothing of it is left. Only filters that one
    layer alone reads can go so: in residual networks those inside a block, as in the paper. One filter of every layer stays. As many go
    as remove at most `sparsity` of the prunable parameters; a warning says where all of them are not enough.

    Raises ConfigError where the model has no such filters.
    """
    example = next(iter(batches))[0][:1]
    parameters = prunable_parameters(model)
    pairs = [
        pair
        for pair in find_pairs(model, example)
        if f"{pair.parent}.weight" in parameters and acts_through(model, pair, example)
    ]
    if not pairs:
        raise ConfigError("The model has no filters that one layer alone reads: choose another model or method.")
    filters = sorted((each for pair in pairs for each in ranked(model, pair)), key=lambda each: each.rank)
    total = sum(parameter.numel() for parameter in parameters.values())
    at_most = total - round(total * (1 - sparsity))
    low, high = 0, len(filters)  # the most filters of which at_most is not exceeded: more filters never remove less
    while low < high:
        middle = (low + high + 1) // 2
        removed = sum(int((~keep).sum()) for keep in without(model, filters[:middle]).values())
        low, high = (middle, high) if removed <= at_most else (low, middle - 1)
    mask = without(model, filters[:low])
    reached = 1 - sum(int(keep.sum()) for keep in mask.values()) / total
    if low == len(filters) and sparsity > reached:
        log.warning(
            "sparsity=%s is more than there are filters to remove, which make %.4f: pruned to that", sparsity, reached
        )
    told = {pair.parent: {"filters_removed": sum(each.pair == pair for each in filters[:low])} for pair in pairs}
    return Pruned(mask, told, {"sparsity_requested": sparsity, "sparsity_reached": reached})


def check(model: nn.Module, example_1CHW: Tensor) -> None:
    """Raise ConfigError for what can be known before any network is trained, as that of `snip_cli.pruning.after_training.snacs.method`."""
    find_pairs(model, example_1CHW)


def check_options(model: nn.Module, example_1CHW: Tensor, options: NoOptions) -> None:
    """Run `check` with an options dataclass."""
    check(model, example_1CHW)


@register(
    "l1_filter",
    stage=Stage.AFTER_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.MASK,
    check=check_options,
    biases=Biases.GROUPED,
    redraw=False,
)
def l1_filter_method(
    model: nn.Module, batches: Iterable[Batch], loss: Loss, request: Request, options: NoOptions
) -> Pruned:
    """Run `l1_filter` with an options dataclass."""
    return l1_filter(model, batches, loss, request.generator, float(request.sparsity), request.steps)


def acts_through(model: nn.Module, pair: Pair, example_1CHW: Tensor) -> bool:
    """Whether all that the parent gives acts through the child, and the child reads nothing else.

    Seen by what autograd connects: without the child's input the parent must not reach the network's output, and without the parent's
    output the network's input must not reach the child.
    """
    seen: dict[str, Tensor] = {}

    def parent_gave(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # A copy: a ReLU may overwrite the output.
        seen["parent"] = output.detach().clone().requires_grad_(not cut_parent)
        return seen["parent"].clone()

    def child_reads(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        seen["child"] = inputs[0]
        return (inputs[0].detach(),)

    reads_else = acts_else = False
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    handles = [
        model.get_submodule(pair.parent).register_forward_hook(parent_gave),
        model.get_submodule(pair.child).register_forward_pre_hook(child_reads),
    ]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        with inference(model), torch.enable_grad():
            cut_parent = True
            model(example_1CHW.detach().clone().requires_grad_())
            reads_else = seen["child"].requires_grad
            cut_parent = False
            acts_else = model(example_1CHW).requires_grad
    finally:
        for handle in handles:
            handle.remove()
        for parameter in parameters:
            parameter.requires_grad_(True)
    return not (reads_else or acts_else)


def ranked(model: nn.Module, pair: Pair) -> list[Filter]:
    """The filters of the pair's parent but the one with the largest norm."""
    norms_C = model.get_submodule(pair.parent).weight.detach().abs().flatten(1).sum(dim=1)
    order = norms_C.argsort(stable=True).tolist()
    return [Filter((place + 0.5) / len(order), channel, pair) for place, channel in enumerate(order[:-1])]


def without(model: nn.Module, filters: Iterable[Filter]) -> Mask:
    """The mask that removes these filters."""
    mask = {
        name: torch.ones(parameter.shape, dtype=torch.bool) for name, parameter in prunable_parameters(model).items()
    }
    for each in filters:
        wide = inputs_per_channel(each.pair, model)
        mask[f"{each.pair.parent}.weight"][each.channel] = False
        if f"{each.pair.parent}.bias" in mask:
            mask[f"{each.pair.parent}.bias"][each.channel] = False
        mask[f"{each.pair.child}.weight"][:, each.channel * wide : (each.channel + 1) * wide] = False
    return mask
