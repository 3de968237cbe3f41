"""What a run reports of itself: a line at its start, one at its end, and warnings about its seeds."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from snip_cli.config.schema import Config
from snip_cli.config.sections import Schedule
from snip_cli.errors import RunError
from snip_cli.run.ancestors import own_iterations, training_schedule
from snip_cli.run.estimate import from_earlier_runs
from snip_cli.runfolder import record
from snip_cli.runfolder.results import Metrics, read_metrics
from snip_cli.runtime.device import multiplies_bfloat16
from snip_cli.runtime.processes import ProcessGroup

log = logging.getLogger("snip_cli")


def announcement(config: Config, device: torch.device, group: ProcessGroup) -> str:
    """Describe what a run is about to do: the resolved choice of everything, and how long it takes if an earlier run tells."""
    s = training_schedule(config)
    choice = [config.method_name, config.model.name, config.dataset.name, f"sparsity {config.sparsity}"]
    seeds = f"seed {config.seed}" if config.seeds == 1 else f"seeds {config.seed} to {config.all_seeds[-1]}"
    where = str(device) if group.size == 1 else f"{group.size} processes on {device.type}"
    iterations = own_iterations(config)
    estimate = from_earlier_runs(config, device, iterations) if group.size == 1 else None
    return " · ".join(
        [*choice, seeds, f"schedule {described(s)}", where, config.dtype, *([str(estimate)] if estimate else [])]
    )


def warn_of_slow_type(config: Config, device: torch.device) -> None:
    """Warn if the run's type is slower on this device than float32."""
    if config.dtype == "bfloat16" and not multiplies_bfloat16(device):
        where = "processor" if device.type == "cpu" else "GPU"
        log.warning("dtype=bfloat16 is slower than float32 here: this %s has no instructions for it", where)


def described(schedule: Schedule) -> str:
    """Describe a schedule by its name, length, batch and learning rate."""
    return (
        f"{schedule.name}: {schedule.iterations:,} iterations of {schedule.batch_size}, learning rate {rates(schedule)}"
    )


def rates(schedule: Schedule) -> str:
    """Describe the learning rate, and at which iterations it falls."""
    if schedule.anneal != "step":
        warmup = f" after a warm-up of {schedule.warmup:,}" * (schedule.warmup > 0)
        return f"{schedule.learning_rate:g}, falling to 0 along a {'line' if schedule.anneal == 'linear' else 'cosine'}{warmup}"
    falls = [f"{milestone:,}" for milestone in schedule.milestones if milestone < schedule.iterations]
    if not falls:
        return f"{schedule.learning_rate:g} throughout" + " but for the warm-up" * (schedule.warmup > 0)
    return f"{schedule.learning_rate:g}, × {schedule.decay:g} at {', '.join(falls)}"


def describe(metrics: Metrics) -> str:
    """Describe the test error (mean ± standard deviation), and the sparsity if it is not the one that was asked for."""
    n = len(metrics.seeds)
    spread = f" ± {metrics.test_error_std:.2f} (n = {n})" if n > 1 else ""
    asked, reached = metrics.sparsity_requested, metrics.sparsity
    missed = reached is not None and (isinstance(asked, str) or abs(reached - asked) > 0.0005)
    found = f" at sparsity {reached:.4f}" if missed else ""
    return f"{metrics.test_error_mean:.2f} %{spread}{found}"


def log_resumed(iteration: int, engine: str, before: set[str | None]) -> None:
    """Log where a training that was interrupted goes on, and whether it goes on in another form.

    Args:
        engine: the form in which it goes on (see `Training.engine`).
        before: the forms in which it began; None for a checkpoint of an earlier version, which never was `sparse`.
    """
    log.info("goes on from iteration %d", iteration)
    if before - {engine} and "sparse" in {engine, *before}:
        log.info(
            "it began in another form of training (%s now): the result is the same to rounding, not to the bit", engine
        )


def log_finished_seeds(config: Config) -> None:
    """Log how many of a run's seeds are done, and their error, when others have failed."""
    metrics = read_metrics(config.folder)
    if metrics is not None:
        done = f"{len(record.finished_seeds(config))} of {config.seeds} seeds are done"
        log.info("%s: test error %s  →  %s", done, describe(metrics), config.folder)


def reuse(folder: Path, reason: str = "finished already") -> Metrics:
    """Return the metrics of a finished run, and log that it was finished, and by which commit if that was another one."""
    metrics = read_metrics(folder)
    assert metrics is not None
    log.info("%s%s: test error %s  →  %s", reason, record.other_commit(folder), describe(metrics), folder)
    return metrics


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Raise RunError, which says what to lower, if the device or the machine runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # The CPU's allocator raises a plain RuntimeError.
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        remedy = "lower schedule.batch_size or method.batch_size, or use dtype=bfloat16, device=cpu or a smaller model"
        raise RunError(f"Out of memory: {remedy}.") from error
