"""What a run keeps while it goes on: results, masks, weights and curves, each in its file of the run's folder."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from snip_cli import record
from snip_cli.config import Config
from snip_cli.events import RunEvents
from snip_cli.pruning.protocol import Pruned
from snip_cli.record import Evaluation, RunFolder
from snip_cli.training import checkpoint
from snip_cli.training.checkpoint import Saved

log = logging.getLogger("snip_cli")


class Recorder:
    """The run's folder with its event file; one process alone has it."""

    def __init__(self, config: Config, folder: RunFolder, events: RunEvents, saved: Saved) -> None:
        self.config, self.saved = config, saved
        self._folder, self._events = folder, events
        self._rates: dict[int, float] = {}

    @classmethod
    @contextmanager
    def open(cls, config: Config, device: str, *, wait: bool = False) -> Iterator["Recorder"]:
        """Open the run's folder, with what it holds already; `device` in words goes to `env.json`."""
        with RunFolder.open(config, wait=wait) as folder:
            saved = checkpoint.load(folder.path, run=folder.path.name)
            folder.begin(device)
            with RunEvents(folder, saved.results) as events:
                yield cls(config, folder, events, saved)

    def begin_seed(
        self, seed: int, pruned: Pruned, layers: list[dict[str, Any]], evaluations: list[Evaluation]
    ) -> None:
        """Keep a seed's mask and what its method told, and bring table and curves to where its training begins or goes on."""
        self.saved.masks[seed] = pruned.mask
        checkpoint.save_masks(self._folder.path, self.saved)
        told = {"layers": pruned.layers, **pruned.facts}
        self._folder.tell_pruning(seed, told)
        self._folder.restore_evaluations(sorted(self.saved.results), seed, evaluations)
        self._events.begin_seed(seed, layers, evaluations, told)

    def evaluated(self, seed: int, row: Evaluation) -> None:
        """Keep one evaluation."""
        self._folder.add_evaluation(seed, row)
        self._events.evaluation(seed, row)
        told = (row["iteration"], row["train_loss"], row["val_error"], row["test_error"])
        log.debug("seed %d iteration %d: loss %.4f, validation error %.2f %%, test error %.2f %%", seed, *told)

    def keep(self, training: dict[str, Any]) -> None:
        """Keep the state of a training that goes on."""
        self.saved.training = training
        checkpoint.save(self._folder.path, self.saved)

    def finish_seed(self, result: record.Result, weights: dict[str, Tensor], images_per_second: float) -> None:
        """Keep a seed's result and final weights."""
        seed = result["seed"]
        self.saved.results[seed], self.saved.weights[seed] = result, weights
        self.saved.training = None
        self._rates[seed] = images_per_second
        checkpoint.save(self._folder.path, self.saved)

    def finish(self, total: int) -> dict[str, Any]:
        """Write `metrics.json`, of all seeds and m = `total`, and give its content."""
        metrics = record.summarise(self.config, self.saved.results, total)
        self._events.finish(metrics)
        if self.saved.training is not None:  # of a seed that was asked for once and is not now
            seed = self.saved.training["seed"]
            log.warning("the unfinished training of seed %d, which is no longer asked for, is dropped", seed)
            self.saved.training = None
            checkpoint.save(self._folder.path, self.saved)
        self._folder.finish(metrics, self._rates)
        return metrics


class NoRecorder:
    """Stands in for the recorder in every process of a group but the first: it knows what is saved, and keeps nothing."""

    def __init__(self, saved: Saved) -> None:
        self.saved = saved

    def begin_seed(
        self, seed: int, pruned: Pruned, layers: list[dict[str, Any]], evaluations: list[Evaluation]
    ) -> None:
        pass

    def evaluated(self, seed: int, row: Evaluation) -> None:
        pass

    def keep(self, training: dict[str, Any]) -> None:
        pass

    def finish_seed(self, result: record.Result, weights: dict[str, Tensor], images_per_second: float) -> None:
        pass
