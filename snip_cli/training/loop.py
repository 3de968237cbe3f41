"""The training loop: iterations of a schedule, with evaluations and checkpoints between them."""

import logging
import math
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from snip_cli.config.sections import Schedule
from snip_cli.data.splits import Batch
from snip_cli.errors import RunError
from snip_cli.runfolder.results import Evaluation
from snip_cli.training.progress import Clock, Progress, progress_bar

log = logging.getLogger("snip_cli")


class DivergedError(RunError):
    """The loss of a training is not finite."""


class Training(Protocol):
    """What the loop drives: one network or several."""

    schedule: Schedule
    progress: Progress

    def batches(self) -> Iterator[Batch]:
        """Training batches from the next iteration on, for ever."""
        ...

    def set_learning_rate(self, iteration: int) -> None:
        """Set the rate of the iteration that comes next (counted from 0)."""
        ...

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One iteration; gives the loss, still on the device."""
        ...

    def take_losses(self, losses: list[Tensor], done: int) -> None:
        """Keep the losses that end at iteration `done`; raises DivergedError where they are not finite."""
        ...


def train(
    training: Training,
    name: str,
    *,
    evaluate: Callable[[float], float],
    keep: Callable[[], None],
    bar: bool = False,
) -> None:
    """Train to the schedule's end; `evaluate` gets images per second and gives the test error to show, `keep` keeps a checkpoint.

    Nothing waits for the device between two evaluations.
    """
    schedule, progress = training.schedule, training.progress
    batches = training.batches()
    clock = Clock(progress)
    fresh: list[Tensor] = []
    if schedule.iterations == 0:
        evaluate(0.0)
    with progress_bar(schedule.iterations, progress.iteration, name, shown=bar) as meter:
        for done in range(progress.iteration + 1, schedule.iterations + 1):
            training.set_learning_rate(done - 1)
            fresh.append(training.step(*next(batches)))
            meter.update()
            last = done == schedule.iterations
            due = last or done % schedule.evaluate_every == 0
            checkpoint = done % schedule.checkpoint_every == 0 and not last
            if due or checkpoint:
                training.take_losses(fresh, done)
                progress.iteration = done
                fresh.clear()
            if due:
                meter.set_postfix_str(f"test error {evaluate(clock.images_per_second(schedule.batch_size)):.2f} %")
                clock.begin_interval()
            if due or checkpoint:
                progress.seconds = clock.seconds()
            if checkpoint:
                keep()


def not_finite(schedule: Schedule, done: int) -> DivergedError:
    """The error that says that iteration `done` (counted from 1) met or left a loss that is not finite."""
    return DivergedError(
        f"The loss is not finite at iteration {done} (learning rate {schedule.rate_at(done - 1):g}): "
        "lower schedule.learning_rate or choose another init_train."
    )


def warn_of_divergence(seed: int, error: DivergedError, *, others: bool) -> None:
    """Say that a seed of several has failed, and whether `others` go on."""
    log.warning("seed %d: %s%s", seed, error, " The others go on." if others else "")


def guessing_loss(labels: Tensor) -> float:
    """The training loss, in nats, of knowing only how often each class comes: ln of the number of classes where they are as frequent."""
    counts = labels.bincount().double()
    return float(torch.special.entr(counts / counts.sum()).sum())


def has_learned(progress: Progress, schedule: Schedule, labels: Tensor) -> bool | None:
    """Whether a network knows more than how often each class comes; None unless it has been trained on as many images as there are `labels`.

    One that does not, as its units are dead, say, has the training loss of guessing or more, to a hundredth.
    """
    if schedule.iterations * schedule.batch_size < len(labels):
        return None
    return progress.evaluations[-1].train_loss <= 0.99 * guessing_loss(labels)


def warn_of_guessing(seed: int, progress: Progress, labels: Tensor) -> None:
    """Warn of a seed that has learned nothing."""
    log.warning(
        "seed %d has learned nothing: its training loss is %.3f, and guessing costs %.3f; try schedule.warmup=100, a lower "
        "schedule.learning_rate or another init_train",
        seed,
        progress.evaluations[-1].train_loss,
        guessing_loss(labels),
    )


def row_of(
    schedule: Schedule,
    progress: Progress,
    validation: tuple[float, float],
    test: tuple[float, float],
    train: tuple[float, float] | None,
    images_per_second: float,
) -> Evaluation:
    """One row of metrics.csv, and the rate of images since the last one.

    `validation`, `test` and, where they are evaluated, `train` are (error, loss) of these images. Raises DivergedError where a loss is
    not finite: the last step may have ruined the weights.
    """
    (val_error, val_loss), (test_error, test_loss) = validation, test
    if not (math.isfinite(val_loss) and math.isfinite(test_loss)):
        raise not_finite(schedule, progress.iteration)
    losses = progress.losses
    return Evaluation(
        iteration=progress.iteration,
        learning_rate=schedule.rate_at(progress.iteration - 1) if losses else 0.0,
        train_loss=sum(losses) / len(losses) if losses else math.nan,  # of a schedule of no iterations
        val_loss=val_loss,
        val_error=val_error,
        test_loss=test_loss,
        test_error=test_error,
        train_error=train[0] if train else None,
        images_per_second=images_per_second,
    )
