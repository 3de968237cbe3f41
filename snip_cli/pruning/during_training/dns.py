"""Dynamic network surgery: Guo, Yao & Chen, "Dynamic Network Surgery for Efficient DNNs", NIPS 2016.

The forward pass sees W⊙T, while the gradient at W⊙T updates all of W, so that a pruned weight lives on and can come back (Eq. 2). A layer
has two thresholds, a = 0.9 (μ + cσ) and b = 1.1 (μ + cσ), with the mean μ and the standard deviation σ of the weights' magnitudes at the
start: a kept weight is pruned below a, and a pruned weight is spliced above b (Eq. 3). After iteration i the masks are updated with the
probability (1 + γi)^-p, and no longer after some iteration.

The authors set c by hand, layer by layer, and the sparsity follows. Here one c for all layers is found at each update, which keeps exactly κ.
Their code masks biases too; here biases are kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.config.sections import Schedule
from snip_cli.errors import ConfigError
from snip_cli.pruning.kept_biases import KeptBiases, load_into, prunable_weights, straight_through
from snip_cli.pruning.mask import apply_mask
from snip_cli.pruning.method import Biases, Gives, Stage, Start, register
from snip_cli.pruning.options import option
from snip_cli.pruning.pruner import Plan, Pruner


@dataclass(frozen=True)
class SurgeryOptions:
    """When the mask is updated, and how far the two thresholds are apart. The defaults are those of the authors' example."""

    stop: int = option(0, "iteration after which the mask stays; 0: 7/8 of the schedule's iterations", at_least=0)
    gamma: float = option(0.0001, "how fast updates become rare: their probability is (1 + gamma·i)^-power", at_least=0)
    power: float = option(1.0, "see gamma", at_least=0)
    margin: float = option(0.1, "the thresholds are 1 - margin and 1 + margin times μ + cσ", at_least=0, below=1)

    def last_update(self, schedule: Schedule) -> int:
        """Return the iteration after which the mask stays as it is."""
        return self.stop or schedule.iterations * 7 // 8

    def updates(self, schedule: Schedule, generator: torch.Generator) -> frozenset[int]:
        """Draw the iterations after which the mask is updated."""
        draws = torch.rand(self.last_update(schedule), generator=generator, dtype=torch.float64).tolist()
        return frozenset(i for i, draw in enumerate(draws, 1) if draw < (1 + self.gamma * i) ** -self.power)


def check_schedule(schedule: Schedule, options: SurgeryOptions) -> None:
    """Raise ConfigError unless the mask stops changing within the schedule."""
    if options.stop > schedule.iterations:
        raise ConfigError(
            f"method.stop={options.stop} is after the last of the schedule's {schedule.iterations:,} iterations: lower it, or raise schedule.iterations."
        )


class SurgeryPruner(Pruner):
    """Prunes and splices weights, with exactly κ parameters kept from the first iteration on."""

    def __init__(self, model: nn.Module, plan: Plan, options: SurgeryOptions) -> None:
        assert plan.kept is not None
        self._model, self._kept, self._margin = model, plan.kept, options.margin
        self._weights = prunable_weights(model)
        self._biases = KeptBiases(model)
        self._updates = options.updates(plan.schedule, plan.generator)
        magnitudes = {name: weight.detach().abs() for name, weight in self._weights.items()}
        self._mean = {name: magnitude.mean() for name, magnitude in magnitudes.items()}
        # Weights that are all equal have no deviation.
        self._deviation = {name: m.std(correction=0).clamp(min=1e-12) for name, m in magnitudes.items()}
        self.mask = self._biases.mask({name: torch.ones_like(m, dtype=torch.bool) for name, m in magnitudes.items()})
        self._update()

    def weights(self) -> dict[str, Tensor]:
        return {name: straight_through(weight, self.mask[name]) for name, weight in self._weights.items()}

    def after_step(self, iteration: int) -> None:
        """Update the mask if it is time to."""
        if iteration in self._updates:
            self._update()

    def _update(self) -> None:
        self.mask = self._biases.top({name: self._threshold_constant(name) for name in self._weights}, self._kept)

    def _threshold_constant(self, name: str) -> Tensor:
        """Return, for each weight of a layer, the c at which it is just not kept: Eq. 3 solved for c."""
        factor = torch.where(self.mask[name], 1 - self._margin, 1 + self._margin)
        return (self._weights[name].detach().abs() / factor - self._mean[name]) / self._deviation[name]

    def span(self, schedule: Schedule) -> tuple[int, int, int]:
        return 0, max(self._updates, default=0), 1 + len(self._updates)

    def finish(self) -> None:
        apply_mask(self._model, self.mask)

    def state(self) -> dict[str, Any]:
        return {"mask": self.mask}

    def load(self, state: Mapping[str, Any]) -> None:
        load_into(self.mask, state["mask"])


@register(
    "dns",
    stage=Stage.DURING_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.PRUNER,
    options=SurgeryOptions,
    check_schedule=check_schedule,
    biases=Biases.KEPT,
    redraw=False,
)
def dns(model: nn.Module, plan: Plan, options: SurgeryOptions) -> Pruner:
    """Return the pruner of dynamic network surgery."""
    return SurgeryPruner(model, plan, options)
