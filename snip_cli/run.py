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
from snip_cli.data.resident import Data
from snip_cli.errors import ConfigError, RunError
from snip_cli.events import RunEvents
from snip_cli.pruning.mask import layer_counts
from snip_cli.record import RunFolder
from snip_cli.stages import check, describe, drawn_model, find_device, find_mask, load_data
from snip_cli.training import checkpoint
from snip_cli.training.checkpoint import Saved
from snip_cli.training.trainer import Trainer

log = logging.getLogger("snip_cli")


def run(config: Config) -> dict[str, Any]:
    """Do one run, or what is missing of it, and give the content of its `metrics.json`.

    Raises:
        ConfigError: what was asked cannot be done (see `snip_cli.errors`).
        RunError: the loss is not finite, or the memory did not suffice; the last good checkpoint stays.
    """
    total = check(config)
    device = find_device(config.device)
    if record.is_finished(config):
        return reuse(config.folder)
    with RunFolder.open(config) as folder, out_of_memory_told():
        log.info("%s", announce(config, device))
        saved = checkpoint.load(folder.path, run=folder.path.name)
        folder.begin(describe(device))
        data = load_data(config.dataset, device, getattr(torch, config.dtype), config.schedule.batch_size)
        rates: dict[int, float] = {}
        with RunEvents(folder, saved.results) as events:
            for seed in config.all_seeds:
                if seed not in saved.results:
                    rates[seed] = run_seed(config, seed, data, folder, saved, events)
            metrics = record.summarise(config, saved.results, total)
            events.finish(metrics)
        if saved.training is not None:  # of a seed that was asked for once and is not now
            log.warning(
                "the unfinished training of seed %d, which is no longer asked for, is dropped", saved.training["seed"]
            )
            saved.training = None
            checkpoint.save(folder.path, saved)
        folder.finish(metrics, rates)
    log.info("test error %s  →  %s", told(metrics), folder.path)
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
        remedy = "lower schedule.batch_size or method.batch_size, or use device=cpu or a smaller model"
        raise RunError(f"Out of memory: {remedy}.") from error


def run_seed(config: Config, seed: int, data: Data, folder: RunFolder, saved: Saved, events: RunEvents) -> float:
    """Prune and train one seed, from its checkpoint if there is one, into `saved` and the folder; gives images per second."""
    resumed = saved.training if saved.training is not None and saved.training["seed"] == seed else None
    if resumed is None:
        mask, prune_seconds = find_mask(config, seed, data)
    else:
        mask, prune_seconds = resumed["mask"], resumed["prune_seconds"]
    saved.masks[seed] = mask
    checkpoint.save_masks(folder.path, saved)
    layers = layer_counts(mask)
    warn_of_empty_layers(seed, layers)
    trainer = Trainer(drawn_model(config, seed, "weights", config.init_train, data), mask, data, config.schedule, seed)
    if resumed is not None:
        resume(trainer, resumed["state"], folder.path)
    folder.restore_evaluations(sorted(saved.results), seed, trainer.progress.evaluations)
    events.begin_seed(seed, layers, trainer.progress.evaluations)

    def evaluated(row: dict[str, float]) -> None:
        folder.add_evaluation(seed, row)
        events.evaluation(seed, row)
        told_row = (row["iteration"], row["train_loss"], row["val_error"], row["test_error"])
        log.debug("seed %d iteration %d: loss %.4f, validation error %.2f %%, test error %.2f %%", seed, *told_row)

    def keep(state: dict[str, Any]) -> None:
        saved.training = {"seed": seed, "mask": mask, "prune_seconds": prune_seconds, "state": state}
        checkpoint.save(folder.path, saved)

    trainer.train(evaluated=evaluated, checkpoint=keep, bar=sys.stderr.isatty())
    progress = trainer.progress
    seconds = {"train_seconds": progress.seconds, "prune_seconds": prune_seconds}
    saved.results[seed] = record.result_of(seed, progress.evaluations, layers, **seconds)
    saved.weights[seed] = {name: tensor.cpu() for name, tensor in trainer.model.state_dict().items()}
    saved.training = None
    checkpoint.save(folder.path, saved)
    return progress.iteration * config.schedule.batch_size / progress.seconds


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
    log.info("goes on from iteration %d", trainer.progress.iteration)


def reuse(folder: Path) -> dict[str, Any]:
    """The metrics of a finished run, with one line that says so, and by which commit where that was another one."""
    metrics = record.read_metrics(folder)
    assert metrics is not None
    log.info("finished already%s: test error %s  →  %s", record.other_commit(folder), told(metrics), folder)
    return metrics


def announce(config: Config, device: torch.device) -> str:
    """What a run is about to do: the resolved choice of everything."""
    s = config.schedule
    choice = [config.method_name, config.model.name, config.dataset.name, f"sparsity {config.sparsity}"]
    seeds = f"seed {config.seed}" if config.seeds == 1 else f"seeds {config.seed} to {config.all_seeds[-1]}"
    schedule = f"schedule {s.name}: {s.iterations:,} iterations of {s.batch_size}, learning rate {s.learning_rate:g}"
    return " · ".join([*choice, seeds, schedule, str(device), config.dtype])


def told(metrics: dict[str, Any]) -> str:
    """Mean ± standard deviation of the test error, in words."""
    n = len(metrics["seeds"])
    spread = f" ± {metrics['test_error_std']:.2f} (n = {n})" if n > 1 else ""
    return f"{metrics['test_error_mean']:.2f} %{spread}"
