"""Which seeds train together, and in which form: the fastest by the tables of `results/performance.md`.

On a processor a pruned network that the kernels know trains with its kept weights alone, each seed of a small one in a thread of its own. Other networks, and
all networks on a GPU, train with zeros in their matrices; several seeds of a small one as a stack.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from snip_cli.config.schema import Config
from snip_cli.data.splits import Data
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import Mask
from snip_cli.pruning.method import Gives, Method, find_method
from snip_cli.pruning.pruner import FixedMask, Pruner
from snip_cli.runtime.processes import ProcessGroup
from snip_cli.training.loop import Training
from snip_cli.training.sparse.choice import (
    is_sparse,
    is_sparse_by_layer,
    kind_of,
    sparse_training,
    training_by_layer,
)
from snip_cli.training.stacked.chain import Chain
from snip_cli.training.stacked.rows import Rows
from snip_cli.training.stacked.stack import Form, remaining_share
from snip_cli.training.stacked.trainer import StackedTrainer
from snip_cli.training.trainer import Forward, Trainer

# More replicates at a time gain nothing, and their activations take memory.
MOST_STACKED = 20

# On a GPU, removing the dead units of a single network pays for selecting inputs and cells by hand if at most this share of the weights
# remains.
LARGEST_SHARE = 0.5


@dataclass(frozen=True)
class Replicate:
    """A seed before its training: the network to train, its pruner, and the state of an interrupted training."""

    seed: int
    model: nn.Module
    pruner: Pruner
    state: dict[str, Any] | None = None


def check_pruner(config: Config, method: Method) -> None:
    """Raise ConfigError if `method` changes the mask during training and the configuration asks for what needs a fixed one."""
    if method.gives is not Gives.PRUNER or config.is_reference:
        return
    changes = f"method '{method.name}' changes the mask during training"
    if config.compile:
        raise ConfigError(f"compile=true is for a fixed mask, and {changes}: leave it out.")
    if config.replicates == "stacked":
        raise ConfigError(f"replicates=stacked is for fixed masks, and {changes}: use replicates=auto.")


def find_form(model: nn.Module) -> Form | None:
    """Return how a network is stacked: as a chain of convolutions and linear layers, or a recurrent one. None if it cannot be.

    A network with frozen parameters, which have no mask, cannot be stacked.
    """
    if {*prunable_parameters(model)} != {name for name, _ in model.named_parameters()}:
        return None
    return Chain.of(model) or Rows.of(model)


def stackable(config: Config, model: nn.Module, group: ProcessGroup) -> Form | None:
    """Return the network's form if this run may be stacked: one process, a fixed mask, and arithmetic that a stack does too."""
    plain = group.size == 1 and not config.compile and config.dtype != "bfloat16" and not changes_mask(config)
    return find_form(model) if plain else None


def group_by_iteration(seeds: Sequence[int], training: Mapping[int, dict[str, Any]], largest: int) -> list[list[int]]:
    """Group the seeds that can train together: those at the same iteration, at most `largest` in a group."""
    by_iteration: dict[int, list[int]] = {}
    for seed in seeds:
        iteration = training[seed]["state"]["progress"]["iteration"] if seed in training else 0
        by_iteration.setdefault(iteration, []).append(seed)
    return [alike[i : i + largest] for alike in by_iteration.values() for i in range(0, len(alike), largest)]


def at_once(config: Config, model: nn.Module, data: Data, group: ProcessGroup) -> int:
    """Return how many replicates of a network train as one stack; `model` may lie on the meta device.

    Raises ConfigError if a stack is asked for and impossible.
    """
    form = stackable(config, model, group)
    if config.replicates == "stacked" and form is None:
        raise ConfigError(
            f"replicates=stacked is for networks without batch-norm (LeNets, LSTMs, GRUs), in one process, without compile=true and dtype=bfloat16, which this run of '{config.model.name}' is not: use replicates=auto."
        )
    if form is None or config.replicates == "apart" or may_be_sparse(config, model, data, group):
        return 1
    slower = data.train.device.type == "cpu" and not form.quick_on_cpu
    return 1 if config.replicates == "auto" and slower else MOST_STACKED


def side_by_side(config: Config, model: nn.Module, data: Data, group: ProcessGroup) -> int:
    """Return how many seeds train at a time, each in a thread: as many as PyTorch would use threads, with kept weights alone."""
    in_threads = config.replicates == "auto" and kind_of(model) and expects_sparse(config, model, data, group)
    return torch.get_num_threads() if in_threads else 1


def expects_sparse(config: Config, model: nn.Module, data: Data, group: ProcessGroup) -> bool:
    """Return whether the run's networks will train with their kept weights alone.

    Of a method that may keep more than κ parameters this is not known before the masks are, so that nothing is expected.
    """
    exact = config.is_reference or find_method(config.method.name).keeps_exactly
    return exact and may_be_sparse(config, model, data, group)


def may_be_sparse(config: Config, model: nn.Module, data: Data, group: ProcessGroup) -> bool:
    """Return whether the run's networks would train with their kept weights alone if these were κ."""
    if config.replicates == "stacked" or isinstance(config.sparsity, str) or changes_mask(config):
        return False
    share = 1 - config.sparsity
    by_layer = is_sparse_by_layer(config, model, data, group, share)
    return by_layer or is_sparse(config, model, data, group, share)


def changes_mask(config: Config) -> bool:
    """Return whether the run's method changes the mask during training."""
    return not config.is_reference and find_method(config.method.name).gives is Gives.PRUNER


def training_of(config: Config, replicates: Sequence[Replicate], data: Data, group: ProcessGroup) -> Training:
    """Return the training of one or more replicates, in the fastest form; several must be stackable (`at_once`)."""
    first, mask = replicates[0], replicates[0].pruner.mask
    form = stackable(config, first.model, group)
    alone = config.replicates != "stacked" and len(replicates) == 1 and isinstance(first.pruner, FixedMask)
    if alone and is_sparse(config, first.model, data, group, density(mask)):
        return sparse_training(config, first.model, mask, data, first.seed)
    if alone and is_sparse_by_layer(config, first.model, data, group, density(mask)):
        assert isinstance(first.pruner, FixedMask)
        return training_by_layer(config, first.model, first.pruner, data, first.seed)
    if form is not None and (len(replicates) > 1 or shrinking_pays(form, mask, data.train.device)):
        assert all(isinstance(replicate.pruner, FixedMask) for replicate in replicates)
        models, masks, seeds = zip(*((r.model, r.pruner.mask, r.seed) for r in replicates), strict=True)
        return StackedTrainer(form, models, masks, data, config.schedule, seeds)
    [one] = replicates
    forward = Forward(
        one.model,
        group,
        pruner=one.pruner,
        bfloat16=config.dtype == "bfloat16",
        compiled=config.compile,
        sync_batchnorm=config.sync_batchnorm,
    )
    return Trainer(one.model, one.pruner, data, config.schedule, one.seed, forward=forward, group=group)


def density(mask: Mask) -> float:
    """Return the share of the parameters that a mask keeps."""
    return sum(int(keep.sum()) for keep in mask.values()) / sum(keep.numel() for keep in mask.values())


def shrinking_pays(form: Form, mask: Mask, device: torch.device) -> bool:
    """Return whether a single network trains faster without its dead units. On a processor, kept weights alone are faster still."""
    return device.type == "cuda" and form.quick_alone and remaining_share(form, mask) <= LARGEST_SHARE
