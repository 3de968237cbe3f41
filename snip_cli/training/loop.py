"""The training loop: iterations of a schedule, with evaluations and checkpoints between them.

`Training` holds what all trainings have in common. R: replicates, I: iterations.
"""

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from snip_cli.config.sections import Schedule
from snip_cli.data.splits import Data, Split
from snip_cli.errors import RunError
from snip_cli.models.building import State
from snip_cli.pruning.mask import Mask
from snip_cli.runfolder.results import Evaluation
from snip_cli.runtime.processes import ProcessGroup
from snip_cli.training.evaluation import evaluation_row

log = logging.getLogger("snip_cli")


class DivergedError(RunError):
    """The loss of a training is not finite."""


@dataclass
class Progress:
    """How far the training of one seed is: what its checkpoint holds besides weights and optimizer state.

    `seconds` is the time of training, evaluations and checkpoints over all attempts; replicates that train together share it equally.
    `losses` are the training losses since the last evaluation.
    """

    iteration: int = 0
    seconds: float = 0.0
    evaluations: list[Evaluation] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Progress":
        """Go on from what `state` returned."""
        rows = [Evaluation.from_json(row) for row in state["evaluations"]]
        return cls(state["iteration"], state["seconds"], rows, list(state["losses"]))

    def state(self) -> dict[str, Any]:
        """Return plain Python for a checkpoint."""
        return {**vars(self), "evaluations": [row.to_json() for row in self.evaluations]}


class Meter:
    """Follows how far a training is; this one does nothing."""

    def done(self, iterations: int) -> None:
        """Count iterations; one of a stack counts for each of its replicates."""

    def evaluated(self, error: float) -> None:
        """Show a test error in percent."""


class Training(ABC):
    """One or more replicates in training, on one schedule, from any iteration on.

    Attributes:
        iteration: how many iterations are done.
        each: the progress of every replicate; up to date at evaluations and checkpoints.
        failed: by seed, the errors of the replicates that have diverged.
        engine: the form of the arithmetic, for env.json and checkpoints. Another engine's results are the same to rounding.
    """

    engine: str

    def __init__(self, data: Data, schedule: Schedule, seeds: Sequence[int], group: ProcessGroup) -> None:
        self.data, self.schedule, self.seeds, self.group = data, schedule, list(seeds), group
        self.iteration, self.seconds = 0, 0.0
        self.progress = [Progress() for _ in seeds]
        self.failed: dict[int, DivergedError] = {}

    def train(
        self,
        *,
        evaluated: Callable[[int, Evaluation], None],
        checkpoint: Callable[[dict[int, dict[str, Any]]], None],
        keep_at: Mapping[int, Callable[[dict[int, State]], None]] | None = None,
        until: int | None = None,
        meter: Meter | None = None,
    ) -> None:
        """Train to the schedule's end, or until `until` of its iterations are done.

        Nothing waits for the device but evaluations, checkpoints and `keep_at`.

        Args:
            evaluated: called after each evaluation with a seed and its row of metrics.csv.
            checkpoint: called with the states to keep, by seed.
            keep_at: by the number of iterations done (0: before the first), functions that are called with a copy of the weights, by
                seed. Iterations that are done already are skipped.
            until: where to stop; no evaluation is added there. Up to there the result is bit-identical to that of a full training.
            meter: is told how many iterations are done, and the test error; by default, nothing is.

        Raises:
            DivergedError: no replicate with a finite loss is left.
        """
        schedule, keep_at, meter = self.schedule, keep_at or {}, meter or Meter()
        end = schedule.iterations if until is None else min(until, schedule.iterations)
        origin = time.perf_counter() - self.seconds
        evaluated_at, evaluated_iteration = time.perf_counter(), self.iteration
        self._keep_weights(keep_at)
        if schedule.iterations == 0:
            self.finish()
            self.evaluate_all(0.0, evaluated)
        while self.iteration < end:
            self.record_losses(self.advance(self.next_event(end, keep_at) - self.iteration, meter))
            self._keep_weights(keep_at)
            done = self.iteration
            last = done == schedule.iterations
            must_evaluate = last or done % schedule.evaluate_every == 0
            must_save = done % schedule.checkpoint_every == 0 and not last
            if last:
                self.finish()
            if must_evaluate:
                images = (done - evaluated_iteration) * schedule.batch_size * len(self.seeds)
                meter.evaluated(self.evaluate_all(images / (time.perf_counter() - evaluated_at), evaluated))
                evaluated_at, evaluated_iteration = time.perf_counter(), done
            if must_evaluate or must_save or done == end:
                self.seconds = time.perf_counter() - origin
                self._share_progress()
            if must_save:
                self.check_weights()
                checkpoint(self.states())
                self.after_checkpoint()

    def next_event(self, end: int, keep_at: Iterable[int]) -> int:
        """Return the iteration after which there is something else to do than the next one."""
        done = self.iteration
        every = (self.schedule.evaluate_every, self.schedule.checkpoint_every)
        return min(end, *((done // length + 1) * length for length in every), *(at for at in keep_at if at > done))

    def record_losses(self, losses_IR: Tensor) -> None:
        """Record the losses of the last iterations, mean over the processes; a replicate whose loss is not finite fails."""
        values_RI = (self.group.all_reduce(losses_IR) / self.group.size).T.cpu()
        for number in self.remaining():
            bad = (~torch.isfinite(values_RI[number])).nonzero()
            if len(bad):
                self.fail(number, self.iteration - len(losses_IR) + int(bad[0]) + 1)
            else:
                self.progress[number].losses += values_RI[number].tolist()

    def check_weights(self) -> None:
        """Fail every replicate that has a weight that is not finite, so that no checkpoint holds one."""
        finite = self.finite_weights()
        for number in self.remaining():
            if not finite[number]:
                self.fail(number, self.iteration, "weights are")

    def evaluate_all(self, images_per_second: float, evaluated: Callable[[int, Evaluation], None]) -> float:
        """Evaluate every remaining replicate and return the mean of their test errors in percent.

        `images_per_second` is the rate of all replicates since the last evaluation.
        """
        validation, test = self.evaluate(self.data.validation), self.evaluate(self.data.test)
        train = self.evaluate(self.data.train) if self.schedule.train_error else None
        rows = {}
        for number in self.remaining():
            found = validation[number], test[number], train[number] if train else None
            if math.isfinite(validation[number][1]) and math.isfinite(test[number][1]):
                done, losses = self.iteration, self.progress[number].losses
                rows[number] = evaluation_row(self.schedule, done, losses, *found, images_per_second)
            else:  # the last step ruined the weights
                self.fail(number, self.iteration)
        for number, row in rows.items():
            self.progress[number].evaluations.append(row)
            self.progress[number].losses.clear()
            evaluated(self.seeds[number], row)
        return sum(row.test_error for row in rows.values()) / len(rows)

    def remaining(self) -> list[int]:
        """Return the places of the replicates that have not failed."""
        return [number for number, seed in enumerate(self.seeds) if seed not in self.failed]

    def fail(self, number: int, iteration: int, what: str = "loss is") -> None:
        """Note that a replicate diverged at `iteration` (counted from 1); raises DivergedError if none is left."""
        seed = self.seeds[number]
        self.failed[seed] = DivergedError(
            f"The {what} not finite at iteration {iteration} (learning rate {self.schedule.rate_at(iteration - 1):g}): "
            "lower schedule.learning_rate or choose another init_train."
        )
        if not self.remaining():
            raise self.failed[self.seeds[0]]
        warn_of_divergence(seed, self.failed[seed], others=True)

    def begin_at(self, iteration: int) -> None:
        """Begin at a later `iteration` of the schedule, as after rewinding."""
        self.iteration = iteration
        for progress in self.progress:
            progress.iteration = iteration

    def resume(self, progress: Sequence[Mapping[str, Any]]) -> None:
        """Set the progress of all replicates, which are at the same iteration."""
        self.progress = [Progress.from_state(one) for one in progress]
        [self.iteration] = {one.iteration for one in self.progress}
        self.seconds = sum(one.seconds for one in self.progress)

    def facts(self) -> list[dict[str, Any]]:
        """Return what each replicate's pruner has found, plain Python; a mask that does not change has nothing to report."""
        return [{} for _ in self.seeds]

    def _share_progress(self) -> None:
        for progress in self.progress:
            progress.iteration, progress.seconds = self.iteration, self.seconds / len(self.progress)

    def _keep_weights(self, keep_at: Mapping[int, Callable[[dict[int, State]], None]]) -> None:
        if self.iteration in keep_at:
            self.check_weights()
            weights = self.weights()
            kept = {self.seeds[i]: {name: t.clone() for name, t in weights[i].items()} for i in self.remaining()}
            keep_at[self.iteration](kept)

    @abstractmethod
    def finish(self) -> None:
        """Put the final weights in place, after the schedule's last iteration and before its evaluation."""

    @abstractmethod
    def after_checkpoint(self) -> None:
        """Do what follows a checkpoint."""

    @abstractmethod
    def advance(self, count: int, meter: Meter) -> Tensor:
        """Do `count` iterations and return their losses, I×R, still on the device."""

    @abstractmethod
    def evaluate(self, split: Split) -> list[tuple[float, float]]:
        """Return (error in percent, mean cross-entropy in nats) of each replicate on a split."""

    @abstractmethod
    def finite_weights(self) -> list[bool]:
        """Return for each replicate whether all that it trains is finite."""

    @abstractmethod
    def weights(self) -> list[State]:
        """Return the state dictionary of each replicate's network, on the CPU; it may share the network's memory."""

    @abstractmethod
    def masks(self) -> list[Mask]:
        """Return each replicate's mask as it is now, on the CPU."""

    @abstractmethod
    def states(self) -> dict[int, dict[str, Any]]:
        """Return by seed all that is needed to go on, for those that have not failed: tensors and plain Python."""

    @abstractmethod
    def load(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from one state a replicate; raises RuntimeError, ValueError or KeyError if they are of another network."""


def warn_of_divergence(seed: int, error: DivergedError, *, others: bool) -> None:
    """Warn that a seed has diverged, and say whether `others` go on."""
    log.warning("seed %d: %s%s", seed, error, " The others go on." if others else "")
