"""The pipeline of one run: config → data → model → mask → training → evaluation → record."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from snip_cli.compact.paths import Paths
from snip_cli.config.schema import Config
from snip_cli.data.loading import load_data
from snip_cli.data.splits import Data
from snip_cli.errors import ConfigError, RunError
from snip_cli.models.building import State, weightless_model
from snip_cli.models.pretrained import check_there
from snip_cli.pruning.mask import layer_counts, sparse_megabytes, weight_counts
from snip_cli.run.ancestors import ancestors
from snip_cli.run.checks import check, check_group, check_scoring
from snip_cli.run.messages import announcement, describe, warn_of_collapse
from snip_cli.run.seed import Start, prepare, with_final_mask
from snip_cli.runfolder import record
from snip_cli.runfolder.checkpoint import Saved
from snip_cli.runfolder.recorder import NoRecorder, Recorder
from snip_cli.runtime.device import data_type, own_device, set_up
from snip_cli.runtime.device import describe as describe_device
from snip_cli.runtime.processes import ProcessGroup, process_group
from snip_cli.training.choice import at_once, group_by_iteration, training_of
from snip_cli.training.evaluation import has_learned, warn_of_guessing
from snip_cli.training.loop import DivergedError, Progress, warn_of_divergence
from snip_cli.training.stacked.trainer import StackedTrainer
from snip_cli.training.trainer import Trainer

log = logging.getLogger("snip_cli")


def run(config: Config) -> dict[str, Any]:
    """Do one run, or what is missing of it, and before it its ancestors; return the content of its `metrics.json`.

    Under torchrun every process calls it; the first writes the run's folder and returns the metrics, the others return nothing.

    Raises:
        ConfigError: what was asked cannot be done (see `snip_cli.errors`).
        RunError: the loss is not finite, the memory did not suffice, or a process was lost; the last good checkpoint stays.
    """
    check(config)
    with (
        own_device(config.device) as device,
        process_group(device, config.schedule.batch_size) as group,
        explain_out_of_memory(),
    ):
        before = ancestors(config)
        if before and not is_finished(config, group):
            check_scoring(config, run_data(config, device).scored)  # before an ancestor has trained for hours
            for number, ancestor in enumerate(before):
                complete_ancestor(
                    config, ancestor, "its reference" if number == 0 else f"round {number}", device, group
                )
        return complete(config, device, group)


def is_finished(config: Config, group: ProcessGroup) -> bool:
    """Return whether the run's folder holds a result for every seed asked for, as the first process sees it."""
    return group.broadcast(group.is_first and record.is_finished(config))


def complete_ancestor(config: Config, ancestor: Config, name: str, device: torch.device, group: ProcessGroup) -> None:
    """Do an ancestor of the run `config`, or what is missing of it."""
    if not is_finished(ancestor, group):
        if group.is_first:
            log.info("%s prunes a trained network: first %s", config.method.name, name)
        complete(ancestor, device, group, wait=True)
    elif group.is_first:
        reuse(ancestor.folder, f"{config.method.name} prunes a network that was trained already")


def complete(config: Config, device: torch.device, group: ProcessGroup, *, wait: bool = False) -> dict[str, Any]:
    """Do what is missing of one run; if another process is doing the same run, `wait` for it."""
    if is_finished(config, group):
        return reuse(config.folder) if group.is_first else {}
    check_group(config, device, group)
    check_there(config.model.weights)
    if not group.is_first:
        train_seeds(config, device, group, NoRecorder(group.broadcast(Saved())))
        return {}
    processes = f"{group.size} processes, the first on " if group.size > 1 else ""
    with Recorder.open(config, processes + describe_device(device), wait=wait) as recorder:
        log.info("%s", announcement(config, device, group))
        # The other processes need no weights of finished seeds.
        group.broadcast(Saved(results=recorder.saved.results, training=recorder.saved.training))
        try:
            train_seeds(config, device, group, recorder)
        except DivergedError:
            log_finished_seeds(config)
            raise
        metrics = recorder.finish()
    log.info("test error %s  →  %s", describe(metrics), config.folder)
    return metrics


def log_finished_seeds(config: Config) -> None:
    """Say how many of a run's seeds are done, and with what error, where others have failed."""
    metrics = record.read_metrics(config.folder)
    if metrics is not None:
        done = f"{len(record.finished_seeds(config))} of {config.seeds} seeds are done"
        log.info("%s: test error %s  →  %s", done, describe(metrics), config.folder)


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Raise RunError, with what to lower, where the device or the machine has no memory left."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # The CPU's allocator raises a plain RuntimeError.
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        remedy = "lower schedule.batch_size or method.batch_size, or use dtype=bfloat16, device=cpu or a smaller model"
        raise RunError(f"Out of memory: {remedy}.") from error


def run_data(config: Config, device: torch.device) -> Data:
    """The run's data set; the same one is not loaded again."""
    return load_data(config.dataset, device, data_type(config.dtype), config.schedule.batch_size)


def train_seeds(config: Config, device: torch.device, group: ProcessGroup, recorder: Recorder | NoRecorder) -> None:
    """Prune and train every seed that has no result yet; raises the error of the first whose training diverged, when the others are done."""
    set_up(device, deterministic=config.deterministic)
    data = run_data(config, device)
    model = weightless_model(config)
    largest = at_once(config, model, device, group)
    paths = Paths(model, tuple(config.dataset.shape))
    missing = [seed for seed in config.all_seeds if seed not in recorder.saved.results]
    failed: dict[int, DivergedError] = {}
    trained = group_by_iteration(missing, recorder.saved.training, largest)
    for number, seeds in enumerate(trained, 1):
        failed |= (lost := run_seeds(config, seeds, data, group, recorder, paths))
        if len(lost) == len(seeds) and len(missing) > 1 and group.is_first:
            seed, error = list(lost.items())[-1]  # whose failure ended that training, so that it has not been told
            warn_of_divergence(seed, error, others=number < len(trained))
    for error in failed.values():
        raise error


def run_seeds(
    config: Config, seeds: list[int], data: Data, group: ProcessGroup, recorder: Recorder | NoRecorder, paths: Paths
) -> dict[int, DivergedError]:
    """Prune some seeds and train them at a time, from their checkpoints if there are any; gives the errors of those that diverged."""
    starts = {seed: prepare(config, seed, data, group, paths, recorder.saved.training.get(seed)) for seed in seeds}
    training = training_of(config, [start.replicate for start in starts.values()], data, group)
    states = [start.replicate.state for start in starts.values() if start.replicate.state is not None]
    if states:
        resume(training, states, config.folder)
    progress = dict(zip(seeds, training.each, strict=True))
    if group.is_first:
        warn_of_collapse(starts)
    recorder.begin_seeds(
        {seed: start.pruned for seed, start in starts.items()}, {seed: p.evaluations for seed, p in progress.items()}
    )

    def keep(states: dict[int, dict[str, Any]]) -> None:
        recorder.keep({seed: {"seed": seed, **starts[seed].kept, "state": state} for seed, state in states.items()})

    with suppress(DivergedError):  # of all of them; `failed` has each one's
        training.train(evaluated=recorder.evaluated, checkpoint=keep, bar=group.is_first and sys.stderr.isatty())
    trained = {seed: p for seed, p in progress.items() if seed not in training.failed}
    weights = dict(zip(seeds, training.weights(), strict=True))
    masks = dict(zip(seeds, training.masks(), strict=True))
    if group.is_first:
        final = {seed: with_final_mask(starts[seed], masks[seed], paths) for seed in trained}
        warn_of_collapse({seed: start for seed, start in final.items() if start is not starts[seed]})
        starts |= final
    losses = {seed: p.evaluations[-1]["train_loss"] for seed, p in trained.items()}
    known = {seed: has_learned(loss, config.schedule, data.train.labels) for seed, loss in losses.items()}
    results = [result_of(starts[seed], p, weights[seed], known[seed]) for seed, p in trained.items()]
    for result in results if group.is_first else ():
        expected = (
            config.dataset.random_labels or result["effective_kept"] == 0
        )  # of what is cut through it has been told
        if result["learned"] is False and not expected:
            warn_of_guessing(result["seed"], losses[result["seed"]], data.train.labels)
    if results:
        recorder.finish_seeds(results, weights, masks, config.schedule.batch_size)
    return training.failed


def result_of(start: Start, progress: Progress, weights: State, learned: bool | None) -> record.Result:
    """A seed's entry of `metrics.json`."""
    mask = start.pruned.mask
    told = {
        "learned": learned,
        **weight_counts(mask),
        "sparse_megabytes": round(sparse_megabytes(weights, mask), 3),
        "effective_kept": start.effective_kept,
        "collapsed": start.collapsed,
    }
    seconds = {"train_seconds": progress.seconds, "prune_seconds": start.prune_seconds}
    return record.result_of(start.replicate.seed, progress.evaluations, layer_counts(mask), told, **seconds)


def resume(training: Trainer | StackedTrainer, states: Sequence[dict[str, Any]], folder: Path) -> None:
    """Set a training to its checkpoint's states; raises ConfigError where they belong to another network."""
    try:
        training.load(states)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(
            f"{folder / 'checkpoint.pt'} does not fit this network: delete the folder to start over."
        ) from error
    log.info("goes on from iteration %d", training.iteration)


def reuse(folder: Path, said: str = "finished already") -> dict[str, Any]:
    """The metrics of a finished run, with one line that says so, and by which commit where that was another one."""
    metrics = record.read_metrics(folder)
    assert metrics is not None
    log.info("%s%s: test error %s  →  %s", said, record.other_commit(folder), describe(metrics), folder)
    return metrics
