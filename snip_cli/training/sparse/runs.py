"""What the networks of compiled kernels share: batches of rows to train on or to evaluate, by one kernel that does both."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from snip_cli.training.sparse.images import Images
from snip_cli.training.sparse.kernels.records import Settings
from snip_cli.training.sparse.tables import Array

NO_SETTINGS = Settings(adam=False, momentum=0.0, nesterov=False, decay=0.0)


class Runs(ABC):
    """A network that a kernel trains or evaluates, `batch` images at a time. One kernel does both, because it is compiled once."""

    batch: int

    @abstractmethod
    def _run(self, *given: Any) -> None:
        """Call the kernel with `given`: images, rows_IB, rates_I, settings, step, losses_I, wrong_I.

        It trains on the images of each row, or evaluates them if there are no rates. `step` iterations came before. Losses are in nats, in
        training the mean over a row's images, in an evaluation the sum; there it also counts the images that are classified wrongly.
        """

    def train(self, images: Images, rows_IB: Array, rates_I: Array, settings: Settings, step: int) -> Array:
        """Train on batches of a split's rows; returns the losses (I)."""
        losses_I = np.zeros(len(rows_IB))
        self._run(images, rows_IB, rates_I, settings, step, losses_I, np.zeros(0, np.int64))
        return losses_I

    def evaluate(self, images: Images) -> tuple[int, float]:
        """Return how many images are classified wrongly, and the sum of their cross-entropies in nats."""
        rows, whole = np.arange(len(images.labels)), len(images.labels) // self.batch * self.batch
        wrong, loss = 0, 0.0
        for some in (rows[:whole].reshape(-1, self.batch), rows[whole:][None]):
            losses_I, wrong_I = np.zeros(len(some)), np.zeros(len(some), np.int64)
            self._run(images, some, np.zeros(0), NO_SETTINGS, 0, losses_I, wrong_I)
            wrong, loss = wrong + int(wrong_I.sum()), loss + float(losses_I.sum())
        return wrong, loss
