"""The writer of a run's folder: everything that a run leaves there, in the order of its life. `record.py` reads it.

`config.yaml` and `env.json` when the run begins; `mask.pt` and `pruning.json` when seeds are pruned; `metrics.csv` and TensorBoard events
at each evaluation; `checkpoint.pt` in between; `metrics.json` after each group of seeds and last of all: the seeds that it lists are finished.
"""

import copy
import csv
import dataclasses
import io
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

from snip_cli.config import reading as configuration
from snip_cli.config.schema import Config
from snip_cli.runfolder import checkpoint
from snip_cli.runfolder.checkpoint import Mask, Saved, SavedSeed, State
from snip_cli.runfolder.events import RunEvents
from snip_cli.runfolder.folder import open_folder
from snip_cli.runfolder.record import changed_files, read_environment, read_evaluations, read_findings
from snip_cli.runfolder.results import COLUMNS, Environment, Evaluation, LayerCount, Metrics, SeedResult
from snip_cli.runtime.environment import environment
from snip_cli.runtime.files import read_json, write_text

log = logging.getLogger("snip_cli")


@dataclass(frozen=True)
class PrunedSeed:
    """A seed whose mask is known before training: the mask, its counts per layer, and what the method found, plain Python.

    `findings` is the seed's entry of `pruning.json`: `layers`, a dictionary by the layer's name, and anything about the whole network.
    """

    mask: Mask
    layers: Sequence[LayerCount]
    findings: Mapping[str, Any] = field(default_factory=dict)


class Recorder:
    """A run's folder, open for writing: locked against other processes, with the log going to `run.log`.

    Attributes:
        lock: held while anything is written, so that several threads can train. Hold it to do more than one thing.
    """

    def __init__(self, config: Config, saved: Saved) -> None:
        self.config, self.saved, self._path = config, saved, config.folder
        self._started = time.perf_counter()
        self._rows: list[tuple[int, Evaluation]] = []
        self._rates: dict[str, float] = {}
        self._environment: Environment
        self._events: RunEvents
        self.lock = threading.RLock()

    @classmethod
    @contextmanager
    def open(cls, config: Config, device: str, *, wait: bool = False) -> Iterator["Recorder"]:
        """Open the run's folder with what it holds already; `device` in words goes to `env.json`.

        Raises ConfigError where the folder is not writable, holds damaged files or, without `wait`, another process is writing to it.
        """
        with open_folder(config.folder, wait=wait) as folder:
            recorder = cls(config, checkpoint.load(folder, run=folder.name))
            recorder._begin(device)
            masks = {seed: in_numpy(mask) for seed, mask in recorder.saved.masks.items()}
            with RunEvents(config, recorder.saved.results, masks) as recorder._events:
                yield recorder

    def _begin(self, device: str) -> None:
        write_text(self._path / "config.yaml", configuration.to_yaml(self.config))
        previous = read_json(self._path / "env.json") or {}
        if changed := changed_files(read_environment(self._path)):
            log.warning(
                "continues with another %s than before: delete %s to start over", ", ".join(changed), self._path
            )
        earlier = [*previous.pop("earlier", []), previous] if previous else []
        self._environment = Environment(
            **environment(), device=device, weights=self.config.model.weights_hash or None, earlier=earlier
        )
        self._write_json("env.json", self._environment.to_json())

    def begin_seeds(
        self, evaluations: Mapping[int, Sequence[Evaluation]], pruned: Mapping[int, PrunedSeed], engine: str
    ) -> None:
        """Bring files and curves to where the training of these seeds begins or continues.

        Args:
            evaluations: what a checkpoint holds of each seed that is about to be trained, in order.
            pruned: the seeds among them whose mask is known already; training may still change it (see `finish_seeds`).
            engine: the form of their training, for `env.json`.
        """
        if engine != self._environment.engine:
            self._environment = dataclasses.replace(self._environment, engine=engine)
            self._write_json("env.json", self._environment.to_json())
        self._rows = [(seed, row) for seed, row in read_evaluations(self._path) if seed not in evaluations]
        self._rows += [(seed, row) for seed, rows in evaluations.items() for row in rows]
        self._write_rows()
        if pruned:
            self.saved.masks |= {seed: found.mask for seed, found in pruned.items()}
            checkpoint.save_masks(self._path, self.saved)
        for seed, found in pruned.items():
            if any(found.findings.values()):
                self._write_json(
                    "pruning.json",
                    {**read_findings(self._path), str(seed): found.findings},
                    indent=1,
                )
            self._events.mask(seed, found.layers, in_numpy(found.mask), found.findings)
        for seed, rows in evaluations.items():
            for row in rows:
                self._events.evaluation(seed, row)

    def evaluated(self, seed: int, row: Evaluation) -> None:
        """Record one evaluation."""
        with self.lock:
            self._rows.append((seed, row))
            self._write_rows()
            self._events.evaluation(seed, row)
        shown = (seed, row.iteration, row.train_loss, row.val_error, row.test_error)
        log.debug("seed %d iteration %d: loss %.4f, validation error %.2f %%, test error %.2f %%", *shown)

    def keep(self, training: Mapping[int, SavedSeed]) -> None:
        """Save the states of trainings in progress, by seed.

        They are copied: the trainings go on in the same tensors, and a later checkpoint for other seeds must not hold a seed that has
        diverged since.
        """
        with self.lock:
            self.saved.training |= copy.deepcopy(dict(training))
            checkpoint.save(self._path, self.saved)

    def keep_early(self, iteration: int, weights: Mapping[int, State]) -> None:
        """Save the weights of seeds after an early `iteration`, for a later run that restarts from them."""
        with self.lock:
            checkpoint.save_early(self._path, iteration, weights)

    def finish_seeds(
        self,
        results: Sequence[SeedResult],
        weights: Mapping[int, State],
        masks: Mapping[int, Mask],
        images: int,
    ) -> None:
        """Record seeds that end together. While other seeds are to be trained, `metrics.json` has those that are finished.

        Args:
            results: their results, with the counts of their final masks.
            weights: final weights by seed; it may hold failed seeds too.
            masks: final masks by seed. Where one differs from the mask known at the start, `mask.pt` and the densities in TensorBoard are written again.
            images: how many each seed was trained on, for the rate in `env.json`.
        """
        changed = [result for result in results if not same_mask(masks[result.seed], self.saved.masks.get(result.seed))]
        for result in changed:
            self.saved.masks[result.seed] = masks[result.seed]
            self._events.mask(result.seed, result.layers, in_numpy(masks[result.seed]))
        if changed:
            checkpoint.save_masks(self._path, self.saved)
        for result in results:
            self.saved.results[result.seed], self.saved.weights[result.seed] = result, weights[result.seed]
            self.saved.training.pop(result.seed, None)
            seconds = result.train_seconds
            self._rates[str(result.seed)] = images / seconds if seconds else 0.0
        checkpoint.save(self._path, self.saved)
        if set(self.config.all_seeds) - self.saved.results.keys():  # otherwise `finish` writes it, after env.json
            self._write_json("metrics.json", self._metrics().to_json())

    def finish(self) -> Metrics:
        """Write `env.json` again, with wall time and rates, and last `metrics.json`; return the metrics of all seeds."""
        metrics = self._metrics()
        self._events.finish(metrics)
        for seed in self.saved.training:  # requested by an earlier command only
            log.info("the unfinished training of seed %d is kept; it continues when a command asks for that seed", seed)
        wall_seconds = round(time.perf_counter() - self._started, 3)
        done = dataclasses.replace(self._environment, wall_seconds=wall_seconds, images_per_second=self._rates)
        self._write_json("env.json", done.to_json())
        self._write_json("metrics.json", metrics.to_json())
        return metrics

    def _metrics(self) -> Metrics:
        config, results = self.config, self.saved.results
        seeds = [results[seed] for seed in sorted(results)]
        return Metrics(config.method_name, config.model.name, config.dataset.name, config.sparsity, seeds)

    def _write_json(self, name: str, content: Mapping[str, Any], indent: int = 2) -> None:
        write_text(self._path / name, json.dumps(content, indent=indent) + "\n")

    def _write_rows(self) -> None:
        columns = [*COLUMNS, *(["train_error"] if any(row.train_error is not None for _, row in self._rows) else [])]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["seed", *columns])
        writer.writerows(
            [seed, *(getattr(row, name) for name in columns)]
            for seed, row in sorted(self._rows, key=lambda row: row[0])
        )
        write_text(self._path / "metrics.csv", text.getvalue())


class NoRecorder:
    """Stands in for the recorder in every process of a group but the first: it knows what is saved and writes nothing."""

    def __init__(self, saved: Saved) -> None:
        self.saved, self.lock = saved, threading.RLock()

    def begin_seeds(self, *_: object) -> None: ...

    def evaluated(self, *_: object) -> None: ...

    def keep(self, *_: object) -> None: ...

    def keep_early(self, *_: object) -> None: ...

    def finish_seeds(self, *_: object) -> None: ...

    def finish(self) -> None: ...


def same_mask(one: Mask, other: Mask | None) -> bool:
    """Return whether two masks keep the same parameters."""
    return other is not None and one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def in_numpy(mask: Mask) -> dict[str, numpy.ndarray]:
    """Return a mask as NumPy arrays, for what imports no torch."""
    return {name: keep.cpu().numpy() for name, keep in mask.items()}
