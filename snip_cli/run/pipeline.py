"""The pipeline of one run: config → data → model → mask → training → evaluation → record.

Model and mask of a seed: `seed.prepare`. Training and its evaluations: `Training.train`. Its result: `seed.record_results`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial

import torch

from snip_cli.compact.paths import Paths
from snip_cli.config.schema import Config
from snip_cli.data.loading import load_data
from snip_cli.data.splits import Data
from snip_cli.models.building import State, weightless_model
from snip_cli.models.pretrained import check_there
from snip_cli.run.ancestors import ancestors, rewind_iteration, without_early_weights
from snip_cli.run.checks import check, check_group, check_scoring
from snip_cli.run.messages import (
    announcement,
    describe,
    explain_out_of_memory,
    log_finished_seeds,
    reuse,
    warn_of_slow_type,
)
from snip_cli.run.progress import Bar, in_threads, progress_bar
from snip_cli.run.seed import open_training, prepare, pruned_seeds, record_results
from snip_cli.runfolder import record
from snip_cli.runfolder.checkpoint import Saved, SavedSeed, save_early
from snip_cli.runfolder.folder import open_folder, wait_until_free
from snip_cli.runfolder.recorder import NoRecorder, Recorder
from snip_cli.runfolder.results import Evaluation, Metrics
from snip_cli.runtime.device import data_type, describe_device, own_device, set_up
from snip_cli.runtime.processes import ProcessGroup, process_group
from snip_cli.training.choice import at_once, expects_sparse, group_by_iteration, side_by_side
from snip_cli.training.loop import DivergedError, warn_of_divergence

log = logging.getLogger("snip_cli")

# Number of iterations done → the callback to call with the weights, which are by seed.
KeepAt = Mapping[int, Callable[[Mapping[int, State]], None]]


def run(config: Config, *, wait: bool = False) -> Metrics | None:
    """Complete a run, after the runs that it depends on (its ancestors); return the content of its `metrics.json`.

    What is finished already is not repeated. With `wait`, a run that another process is doing is waited for, instead of refused.

    Under torchrun every process calls it; the first writes the run's folder and returns the metrics, the others return None.

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
            check_scoring(config, prepare_data(config, device).scored)  # before an ancestor has trained for hours
            reference, *rounds = before
            keep_early = max((rewind_iteration(each) or 0) for each in [*rounds, config])
            complete_ancestor(config, reference, "its reference", device, group, keep_early)
            for number, ancestor in enumerate(rounds, 1):
                complete_ancestor(config, ancestor, f"round {number} of {len(rounds) + 1}", device, group)
            if rounds and group.is_first:
                log.info("%s: the last round", config.method.name)
        return complete(config, device, group, wait=wait)


def complete(
    config: Config, device: torch.device, group: ProcessGroup, *, wait: bool = False, keep_early: int = 0
) -> Metrics | None:
    """Do what is missing of one run.

    Args:
        wait: if another process is doing the same run, wait until it ends.
        keep_early: also save the weights after this iteration, from which a later run restarts; 0 for none.
    """
    if wait and group.is_first:
        wait_until_free(config.folder)
    if is_finished(config, group):
        return reuse(config.folder) if group.is_first else None
    check_group(config, device, group)
    if config.model.weights:
        check_there(config.model.weights)
    with open_recorder(config, device, group, wait=wait) as recorder:
        data = prepare_data(config, device)
        keep_at = {keep_early: partial(recorder.keep_early, keep_early)} if keep_early else {}
        train_seeds(config, data, group, recorder, keep_at)
        metrics = recorder.finish()
    if metrics is not None:
        log.info("test error %s  →  %s", describe(metrics), config.folder)
    return metrics


def train_seeds(
    config: Config, data: Data, group: ProcessGroup, recorder: Recorder | NoRecorder, keep_at: KeepAt
) -> None:
    """Prune and train every seed that has no result yet.

    Raises:
        DivergedError: that of the first seed that diverged, after the others are done.
    """
    missing = [seed for seed in config.all_seeds if seed not in recorder.saved.results]
    model = weightless_model(config)
    batches = group_by_iteration(missing, recorder.saved.training, at_once(config, model, data, group))
    threads = min(side_by_side(config, model, data, group), len(batches))
    if group.is_first and missing and expects_sparse(config, model, data, group):
        log.info("trains with the kept weights alone%s", f", {threads} seeds at a time" if threads > 1 else "")
    failed: dict[int, DivergedError] = {}
    with progress_bar(config, missing, recorder.saved, group) as meter:

        def train(seeds: list[int]) -> None:
            diverged = train_together(config, seeds, data, group, recorder, keep_at, meter)
            failed.update(diverged)
            if len(diverged) == len(seeds) and len(missing) > 1 and group.is_first:
                # The last failure ended the training instead of being logged.
                warn_of_divergence(*list(diverged.items())[-1], others=seeds is not batches[-1])

        in_threads(train, batches, threads, meter)
    if failed:
        if group.is_first:
            log_finished_seeds(config)
        raise failed[min(failed)]


def train_together(
    config: Config,
    seeds: list[int],
    data: Data,
    group: ProcessGroup,
    recorder: Recorder | NoRecorder,
    keep_at: KeepAt,
    meter: Bar,
) -> dict[int, DivergedError]:
    """Prune and train seeds that train at the same time, from their checkpoints if there are any; return the errors of those that diverged."""
    with recorder.lock:
        paths = Paths(weightless_model(config), tuple(config.dataset.shape))
        starts = {seed: prepare(config, seed, data, group, paths, recorder.saved.training.get(seed)) for seed in seeds}
        training = open_training(config, list(starts.values()), data, group)
        recorder.begin_seeds(
            {seed: progress.evaluations for seed, progress in zip(seeds, training.progress, strict=True)},
            pruned_seeds(starts),
            training.engine,
        )

    def keep(states: Mapping[int, SavedSeed]) -> None:
        recorder.keep({seed: starts[seed].checkpoint(state) for seed, state in states.items()})

    def evaluated(seed: int, row: Evaluation) -> None:
        recorder.evaluated(seed, row)
        meter.log(seed, row)

    with suppress(DivergedError):  # `failed` has every seed's error
        training.train(evaluated=evaluated, checkpoint=keep, keep_at=keep_at, meter=meter)
    with recorder.lock:
        record_results(config, starts, training, data, group, paths, recorder)
    return training.failed


def complete_ancestor(
    config: Config, ancestor: Config, name: str, device: torch.device, group: ProcessGroup, keep_early: int = 0
) -> None:
    """Do an ancestor of the run `config`, or what is missing of it, and save the weights after an early iteration, if not 0."""
    if not is_finished(ancestor, group):
        if group.is_first:
            log.info("%s needs %s first", config.method.name, name)
        complete(ancestor, device, group, wait=True, keep_early=keep_early)
    elif group.is_first:
        reuse(ancestor.folder, f"{config.method.name}: {name} is done already")
    if keep_early and (seeds := group.broadcast(without_early_weights(ancestor, keep_early) if group.is_first else [])):
        train_early(ancestor, seeds, keep_early, device, group)


def train_early(config: Config, seeds: list[int], iteration: int, device: torch.device, group: ProcessGroup) -> None:
    """Train the first iterations of a finished run again, and keep the weights that nobody had asked for when it was trained."""
    if group.is_first:
        log.info("%s has no saved weights of iteration %d: training up to it again", config.folder, iteration)
    check_group(config, device, group)
    set_up(device, deterministic=config.deterministic)
    data, paths = prepare_data(config, device), Paths(weightless_model(config), tuple(config.dataset.shape))

    def keep(weights: Mapping[int, State]) -> None:
        if group.is_first:
            with open_folder(config.folder, wait=True):
                save_early(config.folder, iteration, weights)

    together = at_once(config, weightless_model(config), data, group)
    for some in group_by_iteration(seeds, {}, together):
        starts = [prepare(config, seed, data, group, paths, None) for seed in some]
        training = open_training(config, starts, data, group)
        training.train(evaluated=ignore, checkpoint=ignore, keep_at={iteration: keep}, until=iteration)


def ignore(*_: object) -> None:
    """Do nothing."""


def is_finished(config: Config, group: ProcessGroup) -> bool:
    """Return whether the run's folder holds a result for every seed asked for, as the first process sees it."""
    return group.broadcast(group.is_first and record.is_finished(config))


@contextmanager
def open_recorder(
    config: Config, device: torch.device, group: ProcessGroup, *, wait: bool
) -> Iterator[Recorder | NoRecorder]:
    """Open the run's folder in the first process; every process learns what it holds already."""
    set_up(device, deterministic=config.deterministic)
    if not group.is_first:
        yield NoRecorder(group.broadcast(Saved()))
        return
    processes = f"{group.size} processes, the first on " if group.size > 1 else ""
    with Recorder.open(config, processes + describe_device(device), wait=wait) as recorder:
        log.info("%s", announcement(config, device, group))
        warn_of_slow_type(config, device)
        # The other processes need no weights of finished seeds.
        group.broadcast(Saved(results=recorder.saved.results, training=recorder.saved.training))
        yield recorder


def prepare_data(config: Config, device: torch.device) -> Data:
    """Return the run's data set; one that was loaded before is not loaded again."""
    return load_data(config.dataset, device, data_type(config.dtype), config.schedule.batch_size)
