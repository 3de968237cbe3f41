"""Gradual magnitude pruning: Zhu & Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017.

The sparsity rises along a cubic curve while the network trains from its initial weights (Eq. 1). Each pruning removes the smallest weights
of every layer, the same share of each, and no biases, as in the authors' TensorFlow code. A pruned weight stays zero for good.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.config.sections import Schedule
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import Mask, top_mask
from snip_cli.pruning.method import Biases, Gives, Stage, register
from snip_cli.pruning.options import option
from snip_cli.pruning.pruner import FixedMask, Plan, Pruner

log = logging.getLogger("snip_cli")


@dataclass(frozen=True)
class GradualOptions:
    """When the sparsity rises, in iterations of training."""

    begin: int = option(0, "iteration after which pruning begins", at_least=0)
    end: int = option(0, "iteration that reaches the sparsity; 0: half of the schedule's iterations", at_least=0)
    every: int = option(100, "iterations between two prunings", at_least=1)

    def last_pruning(self, schedule: Schedule) -> int:
        """Return the iteration at which the sparsity is reached."""
        return self.end or schedule.iterations // 2

    def prunings(self, schedule: Schedule) -> list[int]:
        """Return the iterations after which weights are removed, rising."""
        end = self.last_pruning(schedule)
        return [*range(self.begin + self.every, end, self.every), end]


def check_schedule(schedule: Schedule, options: GradualOptions) -> None:
    """Raise ConfigError unless pruning ends after it begins, and within the schedule."""
    end = options.last_pruning(schedule)
    if end > schedule.iterations:
        raise ConfigError(
            f"method.end={end} is after the last of the schedule's {schedule.iterations:,} iterations: lower it, or raise schedule.iterations."
        )
    if options.begin >= end:
        raise ConfigError(
            f"method.begin={options.begin} must be below the iteration that reaches the sparsity, which is {end} here: lower method.begin or raise method.end."
        )


class GradualPruner(Pruner):
    """Removes each layer's smallest weights every few iterations, until κ parameters are kept in all."""

    def __init__(self, model: nn.Module, plan: Plan, options: GradualOptions) -> None:
        assert plan.kept is not None
        self._model, self._processes = model, plan.processes
        self._begin, self._end = options.begin, options.last_pruning(plan.schedule)
        self._prunings = frozenset(options.prunings(plan.schedule))
        self._weights = {name: parameter.detach() for name, parameter in prunable_parameters(model).items()}
        self._total = sum(weight.numel() for weight in self._weights.values())
        self._kept = plan.kept
        ones = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in self._weights.items()}
        self._fixed = FixedMask(model, ones)

    @property
    def mask(self) -> Mask:  # type: ignore[override]  # it changes, which is what this pruner is for
        return self._fixed.mask

    def after_step(self, iteration: int) -> None:
        """Prune if it is time to, and set what is pruned to zero."""
        if iteration in self._prunings:
            self._fixed = FixedMask(self._model, top_mask(self._scores(), self._kept_at(iteration)))
        self._fixed.after_step(iteration)

    def span(self, schedule: Schedule) -> tuple[int, int, int]:
        return min(self._prunings), max(self._prunings), len(self._prunings)

    def _kept_at(self, iteration: int) -> int:
        """Return how many parameters Eq. 1 keeps at an iteration, with s_i = 0: κ at the end."""
        remaining = 1 - (iteration - self._begin) / (self._end - self._begin)
        return self._total - round((self._total - self._kept) * (1 - remaining**3))

    def _scores(self) -> dict[str, Tensor]:
        """Return scores that rank biases first, then kept weights by their place in their layer, then what is pruned."""
        return {
            name: torch.full_like(weight, 2.0, dtype=torch.float64)
            if weight.dim() == 1
            else self._places(weight, self.mask[name])
            for name, weight in self._weights.items()
        }

    def _places(self, weight: Tensor, keep: Tensor) -> Tensor:
        """Return the share of a layer's weights that are smaller than each, in (0, 1); -1 for pruned ones."""
        # The sum over the processes makes all of them prune the same. The trainer reports weights that are not finite.
        magnitude = self._processes.all_reduce(weight.abs()).nan_to_num().masked_fill(~keep, -1.0)
        smaller = torch.empty(weight.numel(), dtype=torch.float64, device=weight.device)
        order = magnitude.flatten().argsort(descending=True, stable=True)
        smaller[order] = 1 - (torch.arange(weight.numel(), dtype=torch.float64, device=weight.device) + 0.5) / len(
            order
        )
        return smaller.view_as(weight).masked_fill(~keep, -1.0)

    def state(self) -> dict[str, Any]:
        return {"mask": self.mask}

    def load(self, state: Mapping[str, Any]) -> None:
        mask = {name: keep.to(self._weights[name].device) for name, keep in state["mask"].items()}
        self._fixed = FixedMask(self._model, mask)


@register(
    "gmp",
    stage=Stage.DURING_TRAINING,
    gives=Gives.PRUNER,
    options=GradualOptions,
    check_schedule=check_schedule,
    biases=Biases.KEPT,
    redraw=False,
)
def gmp(model: nn.Module, plan: Plan, options: GradualOptions) -> Pruner:
    """Return the pruner of gradual magnitude pruning, and log when it prunes."""
    if plan.processes.is_first:
        log_prunings(options, plan.schedule)
    return GradualPruner(model, plan, options)


def log_prunings(options: GradualOptions, schedule: Schedule) -> None:
    """Log when weights are removed."""
    first, *rest = options.prunings(schedule)
    if rest:
        log.info("gmp prunes %d times, from iteration %d to %d", len(rest) + 1, first, rest[-1])
    else:
        log.warning("gmp prunes once, at iteration %d: lower method.every=%d to prune gradually", first, options.every)
