"""Which seeds are trained together, and whether dead units are taken out: what is faster, by the tables of `results/performance.md`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from snip_cli.config.schema import Config
from snip_cli.data.splits import Data
from snip_cli.errors import ConfigError
from snip_cli.pruning.mask import Mask
from snip_cli.runtime.processes import ProcessGroup
from snip_cli.training.forward import Forward
from snip_cli.training.stacked.form import Form
from snip_cli.training.stacked.stack import form_of, left_over
from snip_cli.training.stacked.trainer import StackedTrainer
from snip_cli.training.trainer import Trainer

# More replicates at a time gain nothing, and their activations take memory.
LARGEST = 20

# What must be left of the weights, at most, for taking dead units out of one network to pay for selecting inputs and cells by hand.
WORTH = 0.5


@dataclass(frozen=True)
class Replicate:
    """A seed before its training: the network that it starts from, its mask, and the state of a training that was broken off."""

    seed: int
    model: nn.Module
    mask: Mask
    state: dict[str, Any] | None = None


def stackable(config: Config, model: nn.Module, group: ProcessGroup) -> Form | None:
    """The network's form, if its arithmetic is the plain one that a stack does too."""
    plain = group.size == 1 and not config.compile and config.dtype != "bfloat16"
    return form_of(model) if plain else None


def group_by_iteration(seeds: Sequence[int], training: Mapping[int, dict[str, Any]], largest: int) -> list[list[int]]:
    """The seeds that are trained at a time: those that stand at the same iteration, at most `largest`."""
    by_iteration: dict[int, list[int]] = {}
    for seed in seeds:
        iteration = training[seed]["state"]["progress"]["iteration"] if seed in training else 0
        by_iteration.setdefault(iteration, []).append(seed)
    return [alike[i : i + largest] for alike in by_iteration.values() for i in range(0, len(alike), largest)]


def at_once(config: Config, model: nn.Module, device: torch.device, group: ProcessGroup) -> int:
    """How many replicates of a network are trained as one; `model` may lie on the meta device.

    Raises ConfigError where replicates=stacked is asked for and cannot be.
    """
    form = stackable(config, model, group)
    if config.replicates == "stacked" and form is None:
        raise ConfigError(
            f"replicates=stacked is for networks without batch-norm (LeNets, LSTMs, GRUs), in one process, without compile=true and dtype=bfloat16, which this run of '{config.model.name}' is not: use replicates=auto."
        )
    if form is None or config.replicates == "apart":
        return 1
    slower = device.type == "cpu" and not form.quick_on_cpu
    return 1 if config.replicates == "auto" and slower else LARGEST


def training_of(
    config: Config, replicates: Sequence[Replicate], data: Data, group: ProcessGroup
) -> Trainer | StackedTrainer:
    """The training of one or more replicates, in the form that is fastest."""
    first = replicates[0]
    form = stackable(config, first.model, group)
    if form is not None and (len(replicates) > 1 or worth_taking_out(form, first.mask, data.train.device)):
        models, masks, seeds = zip(*((r.model, r.mask, r.seed) for r in replicates), strict=True)
        return StackedTrainer(form, models, masks, data, config.schedule, seeds)
    [one] = replicates
    how = {"bfloat16": config.dtype == "bfloat16", "compiled": config.compile, "sync_batchnorm": config.sync_batchnorm}
    forward = Forward(one.model, group, **how)
    return Trainer(one.model, one.mask, data, config.schedule, one.seed, forward=forward, group=group)


def worth_taking_out(form: Form, mask: Mask, device: torch.device) -> bool:
    """Whether one network is faster without its dead units."""
    return form.quick_alone(device) and left_over(form, mask) <= WORTH
