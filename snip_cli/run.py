"""The pipeline of one run: config → data → model → mask → training → evaluation → record."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from snip_cli import record
from snip_cli.config import Config
from snip_cli.data.loading import load_data
from snip_cli.data.splits import Data
from snip_cli.errors import ConfigError, RunError
from snip_cli.group import Group, joined
from snip_cli.pruning.mask import layer_counts, weight_counts
from snip_cli.pruning.protocol import Pruned
from snip_cli.recorder import NoRecorder, Recorder
from snip_cli.sizes import sparse_megabytes
from snip_cli.stages import (
    State,
    check,
    check_group,
    data_type,
    describe,
    find_mask,
    own_device,
    set_up,
    started_model,
    weightless_model,
)
from snip_cli.training import checkpoint
from snip_cli.training.checkpoint import Saved
from snip_cli.training.choice import Replicate, at_once, companies, training_of
from snip_cli.training.progress import Progress
from snip_cli.training.together import Together
from snip_cli.training.trainer import Trainer

log = logging.getLogger("snip_cli")


def run(config: Config) -> dict[str, Any]:
    """Do one run, or what is missing of it, and give the content of its `metrics.json`; before it, where it prunes a trained network
    that is not there, that network's own run.

    Under torchrun every process calls it; the first writes the run's folder and gives the metrics, the others give nothing.

    Raises:
        ConfigError: what was asked cannot be done (see `snip_cli.errors`).
        RunError: the loss is not finite, the memory did not suffice, or a process was lost; the last good checkpoint stays.
    """
    check(config)
    with (
        own_device(config.device) as device,
        joined(device, config.schedule.batch_size) as group,
        out_of_memory_told(),
    ):
        finished = group.first_says(group.is_first and record.is_finished(config))
        if config.needs_dense and not finished:
            if group.is_first:
                log.info("%s prunes a trained network: first its reference", config.method.name)
            do(config.dense, device, group, wait=True)
        return do(config, device, group)


def do(config: Config, device: torch.device, group: Group, *, wait: bool = False) -> dict[str, Any]:
    """Do what is missing of one run; where another process is doing the same run, `wait` for it."""
    if group.first_says(group.is_first and record.is_finished(config)):
        return reuse(config.folder) if group.is_first else {}
    check_group(config, device, group)
    if not group.is_first:
        train_seeds(config, device, group, NoRecorder(group.first_says(Saved())))
        return {}
    processes = f"{group.size} processes, the first on " if group.size > 1 else ""
    with Recorder.open(config, processes + describe(device), wait=wait) as recorder:
        log.info("%s", announce(config, device, group))
        # The weights of finished seeds concern nobody else.
        group.first_says(Saved(results=recorder.saved.results, training=recorder.saved.training))
        train_seeds(config, device, group, recorder)
        metrics = recorder.finish(check(config))
    log.info("test error %s  →  %s", told(metrics), config.folder)
    return metrics


@contextmanager
def out_of_memory_told() -> Iterator[None]:
    """Raise RunError, with what to lower, where the device or the machine has no memory left."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # The CPU's allocator raises a plain RuntimeError.
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        remedy = "lower schedule.batch_size or method.batch_size, or use dtype=bfloat16, device=cpu or a smaller model"
        raise RunError(f"Out of memory: {remedy}.") from error


def train_seeds(config: Config, device: torch.device, group: Group, recorder: Recorder | NoRecorder) -> None:
    """Prune and train every seed that has no result yet; raises the RunError of the first whose training failed, when the others are done."""
    set_up(config, device)
    data = load_data(config.dataset, device, data_type(config), config.schedule.batch_size)
    largest = at_once(config, weightless_model(config), device, group)
    missing = [seed for seed in config.all_seeds if seed not in recorder.saved.results]
    failed: dict[int, RunError] = {}
    for seeds in companies(missing, recorder.saved.training, largest):
        failed |= run_seeds(config, seeds, data, group, recorder)
    for error in failed.values():
        raise error


def run_seeds(
    config: Config, seeds: list[int], data: Data, group: Group, recorder: Recorder | NoRecorder
) -> dict[int, RunError]:
    """Prune some seeds and train them at a time, from their checkpoints if there are any; gives the errors of those that failed."""
    found = {seed: start_of(config, seed, data, group, recorder.saved.training.get(seed)) for seed in seeds}
    replicates = [replicate for replicate, _, _ in found.values()]
    training = training_of(config, replicates, data, group)
    resume(training, replicates, config.folder)
    pruned = {seed: told for seed, (_, told, _) in found.items()}
    recorder.begin_seeds(pruned, {seed: p.evaluations for seed, p in zip(seeds, training.each, strict=True)})
    if group.is_first:
        for seed, told in pruned.items():
            warn_of_empty_layers(seed, layer_counts(told.mask))

    def keep(states: dict[int, dict[str, Any]]) -> None:
        recorder.keep({seed: {"seed": seed, **facts_of(*found[seed][1:]), "state": states[seed]} for seed in states})

    training.train(evaluated=recorder.evaluated, checkpoint=keep, bar=group.is_first and sys.stderr.isatty())
    done = [seed for seed in seeds if seed not in training.failed]
    progress = dict(zip(seeds, training.each, strict=True))
    rates = {
        s: p.iteration * config.schedule.batch_size / p.seconds if p.iteration else 0.0 for s, p in progress.items()
    }
    weights = dict(zip(seeds, training.weights(), strict=True))
    results = [result_of(seed, progress[seed], weights[seed], *found[seed][1:]) for seed in done]
    recorder.finish_seeds(results, {seed: weights[seed] for seed in done}, {seed: rates[seed] for seed in done})
    return training.failed


def start_of(
    config: Config, seed: int, data: Data, group: Group, resumed: dict[str, Any] | None
) -> tuple[Replicate, Pruned, float]:
    """A seed before its training, what its method told, and the seconds that pruning took."""
    dense = group.first_says(trained_weights(config, seed) if group.is_first else None)
    pruned, prune_seconds = kept_mask(resumed) if resumed else the_mask(config, seed, data, group, dense)
    model = started_model(config, seed, data.train.device, dense)
    return Replicate(seed, model, pruned.mask, resumed["state"] if resumed else None), pruned, prune_seconds


def facts_of(pruned: Pruned, prune_seconds: float) -> dict[str, Any]:
    """What a checkpoint holds of a seed's pruning; `kept_mask` reads it."""
    told = {"layers": pruned.layers, "facts": pruned.facts}
    return {"mask": pruned.mask, "told": told, "prune_seconds": prune_seconds}


def result_of(seed: int, progress: Progress, weights: State, pruned: Pruned, prune_seconds: float) -> record.Result:
    """A seed's entry of `metrics.json`."""
    seconds = {"train_seconds": progress.seconds, "prune_seconds": prune_seconds}
    sizes = {**weight_counts(pruned.mask), "sparse_megabytes": round(sparse_megabytes(weights, pruned.mask), 3)}
    return record.result_of(seed, progress.evaluations, layer_counts(pruned.mask), sizes, **seconds)


def trained_weights(config: Config, seed: int) -> State | None:
    """The trained weights of a seed that a method prunes; None where it prunes drawn ones, or `model.weights` names them."""
    return checkpoint.load(config.dense.folder).weights[seed] if config.needs_dense else None


def kept_mask(training: dict[str, Any]) -> tuple[Pruned, float]:
    """The mask that a checkpoint holds, what its method told of it, and the seconds that it took."""
    return Pruned(training["mask"], **training.get("told", {})), training["prune_seconds"]


def the_mask(config: Config, seed: int, data: Data, group: Group, dense: State | None) -> tuple[Pruned, float]:
    """The mask of one seed and the seconds that it took, found by the first process for all."""
    return group.first_says(find_mask(config, seed, data, dense) if group.is_first else (Pruned({}), 0.0))


def warn_of_empty_layers(seed: int, layers: list[dict[str, Any]]) -> None:
    """Say which layers lost everything: such a network cannot learn."""
    for layer in layers:
        if layer["kept"] == 0:
            log.warning(
                "seed %d: nothing is left of layer %s; at this sparsity the network is cut through", seed, layer["name"]
            )


def resume(training: Trainer | Together, replicates: Sequence[Replicate], folder: Path) -> None:
    """Set a training to its checkpoint's states, if it has any; raises ConfigError where they belong to another network."""
    states = [replicate.state for replicate in replicates if replicate.state is not None]
    if not states:
        return
    try:
        training.load(states)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(
            f"{folder / 'checkpoint.pt'} does not fit this network: delete the folder to start over."
        ) from error
    log.info("goes on from iteration %d", training.progress.iteration)


def reuse(folder: Path) -> dict[str, Any]:
    """The metrics of a finished run, with one line that says so, and by which commit where that was another one."""
    metrics = record.read_metrics(folder)
    assert metrics is not None
    log.info("finished already%s: test error %s  →  %s", record.other_commit(folder), told(metrics), folder)
    return metrics


def announce(config: Config, device: torch.device, group: Group) -> str:
    """What a run is about to do: the resolved choice of everything."""
    s = config.schedule
    choice = [config.method_name, config.model.name, config.dataset.name, f"sparsity {config.sparsity}"]
    seeds = f"seed {config.seed}" if config.seeds == 1 else f"seeds {config.seed} to {config.all_seeds[-1]}"
    schedule = f"schedule {s.name}: {s.iterations:,} iterations of {s.batch_size}, learning rate {s.learning_rate:g}"
    where = str(device) if group.size == 1 else f"{group.size} processes on {device.type}"
    return " · ".join([*choice, seeds, schedule, where, config.dtype])


def told(metrics: dict[str, Any]) -> str:
    """Mean ± standard deviation of the test error, in words."""
    n = len(metrics["seeds"])
    spread = f" ± {metrics['test_error_std']:.2f} (n = {n})" if n > 1 else ""
    return f"{metrics['test_error_mean']:.2f} %{spread}"
