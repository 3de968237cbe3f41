"""What a script of one's own calls: `snip_cli.prune`."""

import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from snip_cli import registry
from snip_cli.compact.collapse import collapsed_layers, describe_collapse
from snip_cli.compact.paths import Paths
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import choose_prunable, out_of_reach
from snip_cli.pruning.batches import AnyBatch, Batches, read_batches
from snip_cli.pruning.conditions import require_weights, scoring_conditions
from snip_cli.pruning.mask import Mask
from snip_cli.pruning.method import Gives, Request, Sparsity, find_method
from snip_cli.pruning.prune import run_method


def prune(
    model: nn.Module,
    batch: AnyBatch | Iterable[AnyBatch],
    loss: Callable[[Any, Any], Tensor],
    *,
    method: str = "snip",
    sparsity: Sparsity = 0.9,
    generator: torch.Generator | None = None,
    prunable: Iterable[str] | None = None,
    **options: object,
) -> Mask:
    """Return the mask, by parameter name, that removes `sparsity` of the model's m prunable parameters.

    A method that scores connections keeps exactly κ = round(m · (1 − sparsity)). One that removes whole groups of connections comes as
    close to that as its groups and limits allow. The model is left as it is, also if an error is raised: weights, gradients, modes, all
    buffers and attributes.
    `apply_mask(model, mask)` sets what the mask prunes to zero. A warning names the layers that the mask cuts off, as snip-run does.

    Args:
        model: any module with convolution, linear, recurrent or attention layers, or with other parameters that `prunable` names.
        batch: (inputs, labels) on the model's device, or a list of such batches. `inputs` is what the model is called with: a tensor, a
            tuple of positional arguments or a dictionary of named ones.
        loss: (outputs, labels) → scalar, the mean over the batch, for example `torch.nn.functional.cross_entropy`.
        method: name of a registered method; `options` are its own.
        sparsity: fraction of the prunable parameters to remove, in [0, 1), or `auto` if the method finds it.
        generator: on the CPU, for methods that draw; by default one with a fixed seed. The forward pass (dropout, noise) draws from global
            generators that are seeded with its initial seed, and these are put back afterwards: the same call gives the same mask.
        prunable: names of the parameters that may be pruned, or patterns such as `encoder.*`; by default the weights and biases of
            convolution, linear, recurrent and attention layers. A warning says if these leave out whole matrices.

    Raises:
        ConfigError: unknown method or option, a sparsity out of range, a method that trains between its steps, or a model that the
            method does not fit.
        RunError: a score is not finite.
    """
    registry.load_builtin()
    chosen = find_method(method)
    if chosen.gives is Gives.PRUNER or chosen.rounds:
        raise ConfigError(
            f"method '{method}' trains the network between its pruning steps, which prune() does not: use `snip-run method={method}`."
        )
    require_weights(model)
    batches = read_batches(batch)
    prunable = prunable if prunable is None or isinstance(prunable, str) else list(prunable)
    draws = generator or torch.Generator().manual_seed(0)
    if draws.device.type != "cpu":
        raise ConfigError(
            f"generator must be on the CPU, so that every device gets the same mask: got one on {draws.device}. Use torch.Generator().manual_seed(SEED)."
        )
    with scoring_conditions(model, draws.initial_seed()), choose_prunable(model, prunable):
        if prunable is None and (limit := out_of_reach(model)):
            warnings.warn(f"{limit}. Choose others with prunable=[...].", stacklevel=2)
        mask = run_method(model, batches, loss, chosen, Request(sparsity, draws), options).mask
        problem = collapse(model, mask, batches)
    if problem:
        warnings.warn(f"{problem[0].upper()}{problem[1:]}.", stacklevel=2)
    return mask


def collapse(model: nn.Module, mask: Mask, batches: Iterable[Any]) -> str | None:
    """Say which layers a mask cuts off; None if there are none. Its paths are followed for inputs like those of the first batch."""
    model, mask = without_wrapper(model, mask)
    first = batches.first if isinstance(batches, Batches) else next(iter(batches))
    inputs = None if first is None else first[0]
    if isinstance(inputs, tuple | list) and len(inputs) == 1:
        [inputs] = inputs
    effective = None
    if isinstance(inputs, Tensor):
        with suppress(Exception):  # the mask is right, whatever stops this look at it
            effective = Paths(model, tuple(inputs.shape[1:])).counts(mask)
    remedy = "lower sparsity or choose another method or init"
    return describe_collapse(mask, collapsed_layers(mask, effective), effective, remedy=remedy)


def without_wrapper(model: nn.Module, mask: Mask) -> tuple[nn.Module, Mask]:
    """Return the module inside DataParallel, torch.compile and their kind, which torch.fx cannot follow, and the mask in its names."""
    wrappers = (nn.DataParallel, DistributedDataParallel, AveragedModel)
    # The class of a compiled module takes a second to import.
    while isinstance(model, wrappers) or hasattr(model, "_orig_mod"):
        [(name, model)] = model.named_children()
        mask = {key.removeprefix(f"{name}."): keep for key, keep in mask.items()}
    return model, mask
