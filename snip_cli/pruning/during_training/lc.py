"""Learning-compression with an ℓ0 constraint: Carreira-Perpiñán & Idelbayev, ""Learning-Compression" Algorithms for Neural Net Pruning", 2018.

Minimises the loss L(w) subject to w = θ, where θ has κ nonzero entries, by the augmented Lagrangian. Steps alternate while μ rises:

    L step: minimise L(w) + μ/2 ‖w - θ - λ/μ‖² over w, by training
    C step: θ = the largest entries of w - λ/μ in magnitude, the others zero; then λ ← λ - μ (w - θ)

The constraint is on all weights together. Biases are neither constrained nor counted by the paper; here they are kept, and count in κ.
During training the network of w is evaluated. At the end it is that of θ. μ rises as in the authors' example for LeNet-300-100.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.config.sections import Schedule
from snip_cli.pruning.kept_biases import KeptBiases, load_into, prunable_weights
from snip_cli.pruning.method import Biases, Gives, Stage, Start, register
from snip_cli.pruning.options import option
from snip_cli.pruning.pruner import Plan, Pruner


@dataclass(frozen=True)
class ConstraintOptions:
    """The penalty's strength μ, step by step. The L steps share the schedule equally; the first is twice as long."""

    steps: int = option(40, "how many pairs of an L step and a C step; at most one every iteration", at_least=1)
    mu: float = option(9e-5, "strength of the quadratic penalty in the first L step", above=0)
    growth: float = option(1.1, "factor by which it rises from step to step", at_least=1)

    def ends(self, schedule: Schedule) -> list[int]:
        """Return the iterations after which there is a C step, rising; the last is the schedule's end."""
        if not schedule.iterations:
            return []
        length = schedule.iterations / (self.steps + 1)
        return sorted({max(1, round(step * length)) for step in range(2, self.steps + 2)})


class ConstrainedPruner(Pruner):
    """Trains w with a penalty that draws it to a pruned copy θ."""

    changes_at_finish = True

    @torch.no_grad()
    def __init__(self, model: nn.Module, plan: Plan, options: ConstraintOptions) -> None:
        assert plan.kept is not None
        self._kept, self._mu, self._growth = plan.kept, options.mu, options.growth
        self._ends = frozenset(options.ends(plan.schedule))
        self._biases = KeptBiases(model)
        self._weights = prunable_weights(model)
        self._multipliers = {name: torch.zeros_like(weight) for name, weight in self._weights.items()}
        self._compress()

    def penalty(self) -> Tensor:
        """Return μ/2 ‖w - θ - λ/μ‖²."""
        distances = [F.mse_loss(w, self._targets[name], reduction="sum") for name, w in self._weights.items()]
        return self._mu / 2 * torch.stack(distances).sum()

    @torch.no_grad()
    def after_step(self, iteration: int) -> None:
        """Do a C step if it is time to, and begin the next L step."""
        if iteration in self._ends:
            self._compress()
            for name, multiplier in self._multipliers.items():
                multiplier.sub_(self._weights[name] - self._compressed[name], alpha=self._mu)
            self._mu *= self._growth
            self._aim()

    def _compress(self) -> None:
        """Set θ to the nearest point of w - λ/μ with κ entries."""
        shifted = {name: w - self._multipliers[name] / self._mu for name, w in self._weights.items()}
        self.mask = self._biases.top({name: w.abs() for name, w in shifted.items()}, self._kept)
        self._compressed = {name: w * self.mask[name] for name, w in shifted.items()}
        self._aim()

    def _aim(self) -> None:
        """Set what the penalty draws w to."""
        self._targets = {name: θ + self._multipliers[name] / self._mu for name, θ in self._compressed.items()}

    def span(self, schedule: Schedule) -> tuple[int, int, int]:
        return 0, max(self._ends, default=0), 1 + len(self._ends)

    @torch.no_grad()
    def finish(self) -> None:
        for name, weight in self._weights.items():
            weight.copy_(self._compressed[name])

    def state(self) -> dict[str, Any]:
        return {
            "mask": self.mask,
            "mu": self._mu,
            "multipliers": self._multipliers,
            "compressed": self._compressed,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._mu = state["mu"]
        load_into(self.mask, state["mask"])
        load_into(self._multipliers, state["multipliers"])
        load_into(self._compressed, state["compressed"])
        self._aim()


@register(
    "lc",
    stage=Stage.DURING_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.PRUNER,
    options=ConstraintOptions,
    biases=Biases.KEPT,
    redraw=False,
)
def lc(model: nn.Module, plan: Plan, options: ConstraintOptions) -> Pruner:
    """Return the pruner of the learning-compression algorithm."""
    return ConstrainedPruner(model, plan, options)
