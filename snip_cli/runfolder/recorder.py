"""What a run keeps while it goes on: results, masks, weights and curves, each in its file of the run's folder."""

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy
from torch import Tensor

from snip_cli.config.schema import Config
from snip_cli.pruning.mask import Mask, layer_counts
from snip_cli.pruning.method import Pruned
from snip_cli.runfolder import checkpoint, record
from snip_cli.runfolder.checkpoint import Saved
from snip_cli.runfolder.events import RunEvents
from snip_cli.runfolder.folder import RunFolder
from snip_cli.runfolder.record import Evaluation

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
            with RunEvents(
                folder, saved.results, {seed: in_numpy(mask) for seed, mask in saved.masks.items()}
            ) as events:
                yield cls(config, folder, events, saved)

    def begin_seeds(self, pruned: Mapping[int, Pruned], evaluations: Mapping[int, list[Evaluation]]) -> None:
        """Keep the masks of seeds and what their method told, and bring table and curves to where their training begins or goes on."""
        self.saved.masks |= {seed: found.mask for seed, found in pruned.items()}
        checkpoint.save_masks(self._folder.path, self.saved)
        self._folder.restore_evaluations(sorted(self.saved.results), evaluations)
        for seed, found in pruned.items():
            told = {"layers": found.layers, **found.facts}
            self._folder.write_pruning(seed, told)
            self._events.begin_seed(seed, layer_counts(found.mask), evaluations[seed], told, in_numpy(found.mask))

    def evaluated(self, seed: int, row: Evaluation) -> None:
        """Keep one evaluation."""
        self._folder.add_evaluation(seed, row)
        self._events.evaluation(seed, row)
        told = (row["iteration"], row["train_loss"], row["val_error"], row["test_error"])
        log.debug("seed %d iteration %d: loss %.4f, validation error %.2f %%, test error %.2f %%", seed, *told)

    def keep(self, training: dict[int, dict[str, Any]]) -> None:
        """Keep the states of trainings that go on, by seed; a copy, as they go on in these tensors, and what is saved later for others
        must not hold a seed that has diverged since."""
        self.saved.training |= copy.deepcopy(training)
        checkpoint.save(self._folder.path, self.saved)

    def finish_seeds(
        self,
        results: list[record.Result],
        weights: dict[int, dict[str, Tensor]],
        masks: Mapping[int, Mask],
        batch_size: int,
    ) -> None:
        """Keep the results of seeds that end at once, and their final weights and masks (which may hold those of failed seeds too).

        While others are to be trained, `metrics.json` has those that are done.
        """
        for result in results:
            seed, seconds = result["seed"], result["train_seconds"]
            self.saved.results[seed], self.saved.weights[seed] = result, weights[seed]
            self.saved.masks[seed] = masks[seed]
            self.saved.training.pop(seed, None)
            self._rates[seed] = result["iterations"] * batch_size / seconds if seconds else 0.0
        checkpoint.save_masks(self._folder.path, self.saved)
        checkpoint.save(self._folder.path, self.saved)
        if not self.saved.results.keys() >= set(self.config.all_seeds):
            self._folder.tell(record.summarise(self.config, self.saved.results))

    def finish(self) -> dict[str, Any]:
        """Write `metrics.json`, of all seeds, and give its content."""
        metrics = record.summarise(self.config, self.saved.results)
        self._events.finish(metrics)
        for seed in self.saved.training:  # asked for once and not now
            log.info("the unfinished training of seed %d is kept, and goes on when it is asked for again", seed)
        self._folder.finish(metrics, self._rates)
        return metrics


class NoRecorder:
    """Stands in for the recorder in every process of a group but the first: it knows what is saved, and keeps nothing."""

    def __init__(self, saved: Saved) -> None:
        self.saved = saved

    def begin_seeds(self, pruned: Mapping[int, Pruned], evaluations: Mapping[int, list[Evaluation]]) -> None:
        pass

    def evaluated(self, seed: int, row: Evaluation) -> None:
        pass

    def keep(self, training: dict[int, dict[str, Any]]) -> None:
        pass

    def finish_seeds(
        self,
        results: list[record.Result],
        weights: dict[int, dict[str, Tensor]],
        masks: Mapping[int, Mask],
        batch_size: int,
    ) -> None:
        pass


def in_numpy(mask: Mask) -> dict[str, numpy.ndarray]:
    """A mask for those that import no torch."""
    return {name: keep.cpu().numpy() for name, keep in mask.items()}
