"""`dry_run=true`: prints what a run or a sweep would do, without data, downloads or files written."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from tabulate import tabulate

from snip_cli.compact.measure import forward_multiply_accumulates
from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError
from snip_cli.models.building import build_model, weightless_model
from snip_cli.models.pretrained import is_missing
from snip_cli.pruning.method import find_method
from snip_cli.pruning.prune import check_request
from snip_cli.run.ancestors import ancestors, own_iterations, training_schedule
from snip_cli.run.checks import check
from snip_cli.run.estimate import Estimate, by_timing, from_earlier_runs
from snip_cli.run.messages import described
from snip_cli.runfolder import record
from snip_cli.runtime.device import find_device

# What a timing found for one iteration, by what is timed.
Timings = dict[str, Estimate | None]


def multiply_accumulates(config: Config) -> int:
    """Return the multiply-accumulates of the dense network's forward pass for one image."""
    with torch.device("meta"):
        model = build_model(config)
    return forward_multiply_accumulates(model, tuple(config.dataset.shape))


def unfinished_ancestors(config: Config) -> list[Config]:
    """Return the runs that must be done before this one and are not."""
    return [ancestor for ancestor in ancestors(config) if not record.is_finished(ancestor)]


def state(config: Config) -> str:
    """Return `done`, `to do`, `begun` or how many seeds are done, followed by what the run needs first."""
    done = len(record.finished_seeds(config))
    if done == config.seeds:
        compact = "" if record.is_done(config) else ", without its compact network"
        return f"done{record.other_commit(config.folder)}{compact}"
    first = unfinished_ancestors(config)
    rounds = len(first) - first[0].is_reference if first else 0
    needs = ["its reference"] * (len(first) - rounds) + [f"{rounds} round{'s' * (rounds > 1)}"] * (rounds > 0)
    weights = config.model.weights
    missing = f", but pretrained={weights} is missing" if is_missing(weights) else ""
    left = "begun" if (config.folder / "checkpoint.pt").exists() else "to do"
    after = f", after {' and '.join(needs)}" if needs else ""
    return (f"{done} of {config.seeds} seeds done" if done else left) + after + missing


def iterations(config: Config) -> str:
    """Return the number of iterations of a seed, preceded by those of the runs that must be done before."""
    first = sum(own_iterations(ancestor) for ancestor in unfinished_ancestors(config))
    return (f"{first:,} + " if first else "") + f"{own_iterations(config):,}"


def duration(config: Config, timings: Timings) -> str:
    """Return how long a seed of a run that is not finished trains, without its ancestors, and what that is taken from.

    `timings` holds what was timed before, because the runs of a sweep often train the same network.
    """
    if record.is_finished(config):
        return ""
    try:
        device = find_device(config.device)
    except ConfigError:  # the plan may be for another machine
        return "unknown here"
    if earlier := from_earlier_runs(config, device, own_iterations(config)):
        return str(earlier)
    schedule = config.schedule
    key = str((config.model, config.dataset.shape, schedule.batch_size, config.dtype, config.is_reference))
    if key not in timings:
        timings[key] = by_timing(config, device, 1)
    one = timings[key]
    return "unknown" if one is None else str(replace(one, seconds=one.seconds * own_iterations(config)))


def print_plan(configs: Sequence[Config]) -> None:
    """Print the folder, state, m, κ, multiply-accumulates, iterations and duration of each run, and the schedules.

    Raises:
        ConfigError: a run is impossible.
    """
    rows: list[dict[str, object]] = []
    timings: Timings = {}
    for config in configs:
        total = check(config)
        method = find_method(config.method.name)
        kept = check_request(method, weightless_model(config), config.sparsity)
        or_more = not config.is_reference and not method.keeps_exactly
        rows.append(
            {
                "folder": config.folder,
                "state": state(config),
                "total m": f"{total:,}",
                "kept κ": "found by the method" if kept is None else f"{kept:,}{' or more' * or_more}",
                "dense multiply-accumulates": f"{multiply_accumulates(config):,}",
                "iterations": iterations(config),
                "seeds": config.seeds,
                "time": duration(config, timings),
            }
        )
    schedules = list(dict.fromkeys(f"{s.optimizer}, {described(s)}" for s in map(training_schedule, configs)))
    if len(rows) == 1:
        print(tabulate([*rows[0].items(), ("schedule", schedules[0])], tablefmt="plain", disable_numparse=True))
    else:
        print(tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))
        print(*(f"schedule: {schedule}" for schedule in schedules), sep="\n")
