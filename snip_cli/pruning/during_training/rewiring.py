"""Dynamic sparse training: a network that is sparse from the start, in which some connections are dropped now and then and others grown.

RigL and SET do so by different rules. Each layer keeps as many weights as at the start, drawn with the densities of `densities`, and all
biases, so that κ is exact throughout. A grown weight starts at 0, and the optimizer remembers nothing of it. A weight that is dropped and
grown at once stays as it is.
"""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from snip_cli.config.sections import Schedule
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.densities import random_mask
from snip_cli.pruning.mask import Mask, top_mask
from snip_cli.pruning.pruner import FixedMask, Plan, Pruner

log = logging.getLogger("snip_cli")


class Rule(Protocol):
    """When a method changes the mask, which connections it drops, and which it prefers to grow."""

    def fraction(self, iteration: int) -> float:
        """Return the part of the connections to drop after an iteration (counted from 1); 0 to leave the mask as it is."""
        ...

    def dropped(self, weight: Tensor, keep: Tensor, fraction: float) -> Tensor:
        """Return which kept connections of a layer are dropped, as bool."""
        ...

    def preference(self, weight: Tensor, gradient: Tensor, generator: torch.Generator) -> Tensor:
        """Return a score of every connection of a layer; of those that are not kept, the largest are grown."""
        ...


class Rewiring(Pruner):
    """Drops and grows connections by a rule, equally many in each layer."""

    def __init__(self, model: nn.Module, plan: Plan, rule: Rule, densities: str) -> None:
        assert plan.kept is not None
        self._model, self._rule, self._processes, self._generator = model, rule, plan.processes, plan.generator
        self._parameters = prunable_parameters(model)
        self._optimizer: torch.optim.Optimizer | None = None
        self._apply(random_mask(self._parameters, plan.kept, densities, plan.generator))

    @property
    def mask(self) -> Mask:  # type: ignore[override]  # it changes, which is what this pruner is for
        return self._fixed.mask

    def use_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def after_step(self, iteration: int) -> None:
        """Set what is pruned to zero, and rewire if it is time to."""
        self._fixed.after_step(iteration)
        fraction = self._rule.fraction(iteration)
        if fraction > 0:
            self._apply(
                {
                    name: keep if self._parameters[name].dim() == 1 else self._rewired(name, keep, fraction)
                    for name, keep in self.mask.items()
                }
            )

    @torch.no_grad()
    def _rewired(self, name: str, keep: Tensor, fraction: float) -> Tensor:
        """Return a layer's new mask, which keeps as many weights."""
        parameter = self._parameters[name]
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        # The sums over the processes make all of them decide the same. The trainer reports numbers that are not finite.
        weight, slope = (self._processes.all_reduce(each.clone()).nan_to_num() for each in (parameter, gradient))
        stays = keep & ~self._rule.dropped(weight, keep, fraction)
        preference = self._rule.preference(weight, slope, self._generator).masked_fill(stays, -1.0)
        grown = top_mask({name: preference}, int(keep.sum()) - int(stays.sum()))[name]
        self._forget(parameter, grown & ~keep)
        return stays | grown

    def _forget(self, parameter: nn.Parameter, grown: Tensor) -> None:
        """Set to zero what the optimizer remembers of grown weights, such as their momentum."""
        assert self._optimizer is not None
        for held in self._optimizer.state[parameter].values():
            if isinstance(held, Tensor) and held.shape == parameter.shape:
                held[grown] = 0.0

    def _apply(self, mask: Mask) -> None:
        on_device = {name: keep.to(self._parameters[name].device) for name, keep in mask.items()}
        self._fixed = FixedMask(self._model, on_device)

    def span(self, schedule: Schedule) -> tuple[int, int, int]:
        changes = [i for i in range(1, schedule.iterations + 1) if self._rule.fraction(i) > 0]
        return 0, max(changes, default=0), 1 + len(changes)

    def log_changes(self, method: str, plan: Plan, remedy: str) -> None:
        """Log, in the first process, how often the mask will change; `remedy` is what to do if it never does."""
        _, last, prunings = self.span(plan.schedule)
        if not plan.processes.is_first:
            return
        if prunings > 1:
            log.info("%s changes the mask %d times, up to iteration %d", method, prunings - 1, last)
        else:
            log.warning("%s never changes the mask in %d iterations: %s", method, plan.schedule.iterations, remedy)

    def state(self) -> dict[str, Any]:
        return {"mask": self.mask, "random": self._generator.get_state()}

    def load(self, state: Mapping[str, Any]) -> None:
        self._apply(state["mask"])
        self._generator.set_state(state["random"].cpu())
