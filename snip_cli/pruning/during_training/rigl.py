"""RigL: "Rigging the lottery: making all tickets winners" (Evci et al., ICML 2020).

A network is sparse from its first iteration on. Every ΔT iterations each layer drops a fraction f(t) = α/2 · (1 + cos(t π / T_end)) of its
connections, those with the smallest |θ|, and grows as many others, those with the largest |∂L/∂θ|. After iteration T_end the mask stays.
Biases are kept, as in the paper. In the paper an iteration that changes the mask does not change the weights; here it does both.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snip_cli.config.sections import Schedule
from snip_cli.errors import ConfigError
from snip_cli.pruning.during_training.rewiring import Rewiring
from snip_cli.pruning.mask import top_mask
from snip_cli.pruning.method import Biases, Gives, Stage, register
from snip_cli.pruning.options import option
from snip_cli.pruning.pruner import Plan, Pruner


@dataclass(frozen=True)
class RiglOptions:
    """When the mask changes, by how much, and how many weights each layer keeps."""

    every: int = option(100, "iterations between two changes of the mask", at_least=1)
    fraction: float = option(0.3, "part of the kept connections that the first change replaces", above=0.0, at_most=1.0)
    end: int = option(0, "iteration from which the mask stays; 0: three quarters of the schedule's", at_least=0)
    densities: str = option("erk", "erk: more in small layers; uniform: the same in all", choices=("erk", "uniform"))

    def last(self, schedule: Schedule) -> int:
        """Return the iteration T_end, from which the mask stays as it is."""
        return self.end or schedule.iterations * 3 // 4


def check_schedule(schedule: Schedule, options: RiglOptions) -> None:
    """Raise ConfigError unless the mask is final within the schedule."""
    if options.end > schedule.iterations:
        raise ConfigError(
            f"method.end={options.end} is after the last of the schedule's {schedule.iterations:,} iterations: lower it, or raise schedule.iterations."
        )


@dataclass(frozen=True)
class RiglRule:
    """Drops by magnitude and grows by gradient, ever fewer along a cosine."""

    every: int
    alpha: float
    end: int

    def fraction(self, iteration: int) -> float:
        """Return f(t), or 0 where the mask stays."""
        if iteration % self.every or iteration >= self.end:
            return 0.0
        return self.alpha / 2 * (1 + math.cos(iteration * math.pi / self.end))

    def dropped(self, weight: Tensor, keep: Tensor, fraction: float) -> Tensor:
        """Return the connections with the smallest |θ|."""
        kept = int(keep.sum())
        sizes = weight.abs().masked_fill(~keep, -1.0)
        return keep & ~top_mask({"": sizes}, kept - int(fraction * kept))[""]

    def preference(self, weight: Tensor, gradient: Tensor, generator: torch.Generator) -> Tensor:
        """Return |∂L/∂θ|."""
        return gradient.abs()


@register(
    "rigl",
    stage=Stage.DURING_TRAINING,
    gives=Gives.PRUNER,
    options=RiglOptions,
    check_schedule=check_schedule,
    biases=Biases.KEPT,
    redraw=False,
)
def rigl(model: nn.Module, plan: Plan, options: RiglOptions) -> Pruner:
    """Return the pruner of RigL, and log how often it changes the mask."""
    end = options.last(plan.schedule)
    pruner = Rewiring(model, plan, RiglRule(options.every, options.fraction, end), options.densities)
    pruner.log_changes("rigl", plan, f"lower method.every={options.every}")
    return pruner
