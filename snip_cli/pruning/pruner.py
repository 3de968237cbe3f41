"""The protocol of pruners, which decide on the mask while a network trains, and the pruner of every mask that is fixed."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.config.sections import Schedule
from snip_cli.pruning.mask import Mask, apply_mask
from snip_cli.runtime.processes import SINGLE_PROCESS, ProcessGroup

log = logging.getLogger("snip_cli")


@dataclass(frozen=True)
class Plan:
    """What a pruner is asked for: κ, the training schedule, a generator for its draws, and the processes that train together.

    `kept` is None if the method is to find the sparsity. `images` is the number of training images, by which a term of the whole training
    set, such as a prior on the weights, is divided.
    """

    kept: int | None
    schedule: Schedule
    generator: torch.Generator
    processes: ProcessGroup = SINGLE_PROCESS
    images: int = 1

    def warn_unless_adam(self, method: str) -> None:
        """Warn if another optimizer trains than the one that `method` was published with."""
        if self.schedule.optimizer != "adam" and self.processes.is_first:
            log.warning(
                "%s was published with Adam, and schedule.optimizer is %s: set schedule=lenet_adam or another schedule with Adam",
                method,
                self.schedule.optimizer,
            )


class Pruner:
    """Decides on the mask beside the trainer; this base class never changes it, and subclasses override what they need.

    The trainer calls, in each iteration: `weights` (in the forward pass), `penalty`, the optimizer's step over the parameters of the
    model and of `parameter_groups`, then `after_step`. What depends on random numbers, such as noise on the weights, draws them from
    torch's global generator, whose state is in the checkpoint. A pruner may also register forward hooks on the model's layers.

    Over several processes the trainer averages the gradients. A decision that is not a function of the weights alone must be made equal
    in all processes, by means of `Plan.processes`.

    Attributes:
        mask: the mask as it is now.
        changes_at_finish: whether `finish` changes what the network computes. The errors just before it are recorded then, too.
    """

    mask: Mask
    changes_at_finish: bool = False

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return parameters of its own as groups for the optimizer: `params` and, if they decay, `weight_decay`.

        A group with an `lr` keeps that rate throughout; one without follows the schedule of the model's parameters.
        """
        return []

    def use_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the optimizer, once and before the first iteration: what it remembers of a weight is a pruner's to reset."""

    def weights(self) -> dict[str, Tensor] | None:
        """Return the parameters as the forward pass sees them, in training and in evaluation, by name; None for the model's own."""
        return None

    def penalty(self) -> Tensor | None:
        """Return a scalar to add to the training loss; None for nothing."""
        return None

    def after_step(self, iteration: int) -> None:
        """React to the end of `iteration` (counted from 1), such as by changing and applying the mask.

        The model's parameters still have the gradients of this iteration. Those of pruned weights are among them, unless `weights` has
        multiplied these by zero.
        """

    def finish(self) -> None:
        """Put the final weights into the model, after the last iteration; from then on the trainer no longer asks for `weights`."""

    def facts(self) -> dict[str, Any]:
        """Return what it has found, such as the sparsity that it reached by itself, for `metrics.json`: plain Python, after `finish`."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of it, its own parameters included: tensors and plain Python."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned, in the tensors that the optimizer holds; the model has its weights already."""

    def span(self, schedule: Schedule) -> tuple[int, int, int]:
        """Return the iterations after which it prunes first and last, and how many times; this one, all the time, counted once."""
        return 0, schedule.iterations, 1


class FixedMask(Pruner):
    """A mask that does not change; pruned parameters are set to zero at once and after every step."""

    def __init__(self, model: nn.Module, mask: Mask) -> None:
        self.mask = mask
        apply_mask(model, mask)
        parameters = dict(model.named_parameters())
        pruned = {name: keep for name, keep in mask.items() if not keep.all()}
        self._pruned: list[Tensor] = [parameters[name].detach() for name in pruned]
        self._keep = [keep.to(parameters[name]) for name, keep in pruned.items()]

    def after_step(self, iteration: int) -> None:
        """Set the pruned parameters to zero."""
        if self._pruned:
            torch._foreach_mul_(self._pruned, self._keep)
