"""The pipeline of one run: config → data → model → mask → training → evaluation → record."""

import logging
import sys
from collections.abc import Iterator
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
from snip_cli.stages import State, check, check_group, data_type, describe, find_mask, own_device, set_up, started_model
from snip_cli.training import checkpoint
from snip_cli.training.checkpoint import Saved
from snip_cli.training.forward import Forward
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
    """Prune and train every seed that has no result yet."""
    set_up(config, device)
    data = load_data(config.dataset, device, data_type(config), config.schedule.batch_size)
    for seed in config.all_seeds:
        if seed not in recorder.saved.results:
            run_seed(config, seed, data, group, recorder)


def run_seed(config: Config, seed: int, data: Data, group: Group, recorder: Recorder | NoRecorder) -> None:
    """Prune and train one seed, from its checkpoint if there is one."""
    training = recorder.saved.training
    resumed = training if training is not None and training["seed"] == seed else None
    dense = group.first_says(trained_weights(config, seed) if group.is_first else None)
    pruned, prune_seconds = kept_mask(resumed) if resumed else the_mask(config, seed, data, group, dense)
    model = started_model(config, seed, data.train.device, dense)
    forward = Forward(
        model, group, bfloat16=config.dtype == "bfloat16", compiled=config.compile, sync_batchnorm=config.sync_batchnorm
    )
    trainer = Trainer(model, pruned.mask, data, config.schedule, seed, forward=forward, group=group)
    if resumed is not None:
        resume(trainer, resumed["state"], config.folder)
    layers = layer_counts(pruned.mask)
    if group.is_first:
        warn_of_empty_layers(seed, layers)
    recorder.begin_seed(seed, pruned, layers, trainer.progress.evaluations)
    found = {
        "mask": pruned.mask,
        "told": {"layers": pruned.layers, "facts": pruned.facts},
        "prune_seconds": prune_seconds,
    }

    def keep(state: dict[str, Any]) -> None:
        recorder.keep({"seed": seed, **found, "state": state})

    trainer.train(
        evaluated=lambda row: recorder.evaluated(seed, row),
        checkpoint=keep,
        bar=group.is_first and sys.stderr.isatty(),
    )
    progress = trainer.progress
    seconds = {"train_seconds": progress.seconds, "prune_seconds": prune_seconds}
    weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    sizes = {**weight_counts(pruned.mask), "sparse_megabytes": round(sparse_megabytes(weights, pruned.mask), 3)}
    result = record.result_of(seed, progress.evaluations, layers, sizes, **seconds)
    rate = progress.iteration * config.schedule.batch_size / progress.seconds if progress.iteration else 0.0
    recorder.finish_seed(result, weights, rate)


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


def resume(trainer: Trainer, state: dict[str, Any], folder: Path) -> None:
    """Set the trainer to a checkpoint's state; raises ConfigError where it belongs to another network."""
    try:
        trainer.load(state)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(
            f"{folder / 'checkpoint.pt'} does not fit this network: delete the folder to start over."
        ) from error
    if trainer.group.is_first:
        log.info("goes on from iteration %d", trainer.progress.iteration)


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
