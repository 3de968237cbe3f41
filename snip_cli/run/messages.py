"""What a run says of itself, in one line at its start and one at its end."""

from typing import Any

import torch

from snip_cli.config.schema import Config
from snip_cli.config.sections import AUTO, Schedule
from snip_cli.runtime.processes import ProcessGroup


def announce(config: Config, device: torch.device, group: ProcessGroup) -> str:
    """What a run is about to do: the resolved choice of everything."""
    s = config.schedule
    choice = [config.method_name, config.model.name, config.dataset.name, f"sparsity {config.sparsity}"]
    seeds = f"seed {config.seed}" if config.seeds == 1 else f"seeds {config.seed} to {config.all_seeds[-1]}"
    schedule = f"schedule {s.name}: {s.iterations:,} iterations of {s.batch_size}, learning rate {rates(s)}"
    where = str(device) if group.size == 1 else f"{group.size} processes on {device.type}"
    return " · ".join([*choice, seeds, schedule, where, config.dtype])


def rates(schedule: Schedule) -> str:
    """The learning rate, and at which iterations it falls."""
    falls = [f"{milestone:,}" for milestone in schedule.milestones if milestone < schedule.iterations]
    if not falls:
        return f"{schedule.learning_rate:g} throughout" + " but for the warm-up" * (schedule.warmup > 0)
    return f"{schedule.learning_rate:g}, × {schedule.decay:g} at {', '.join(falls)}"


def told(metrics: dict[str, Any]) -> str:
    """Mean ± standard deviation of the test error, in words, and the sparsity where it is not the one that was asked for."""
    n = len(metrics["seeds"])
    spread = f" ± {metrics['test_error_std']:.2f} (n = {n})" if n > 1 else ""
    asked, reached = metrics["sparsity_requested"], metrics["sparsity"]
    found = f" at sparsity {reached:.4f}" if asked == AUTO or abs(reached - asked) > 0.0005 else ""
    return f"{metrics['test_error_mean']:.2f} %{spread}{found}"
