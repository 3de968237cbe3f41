"""Trainings that PyTorch does step by step: that of one network (`Trainer`) and that of several as one (`StackedTrainer`).

R: replicates, I: iterations.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from snip_cli.data.draws import Draw, draws
from snip_cli.data.splits import Batch
from snip_cli.training.loop import Meter, Training


class SteppedTraining(Training):
    """A training that is done step by step.

    Attributes:
        constant_rates: the optimizer's parameter groups whose learning rate the schedule does not set.
    """

    optimizer: torch.optim.Optimizer
    constant_rates: frozenset[int] = frozenset()
    _batches: Iterator[Batch] | None = None

    def advance(self, count: int, meter: Meter) -> Tensor:
        """Do `count` iterations; nothing waits for the device."""
        self._batches = self._batches or self.batches()
        losses = []
        for _ in range(count):
            losses.append(self.step(*next(self._batches)))
            meter.done(len(self.seeds))
        if self.iteration >= self.schedule.iterations:
            self._batches = None  # it refers to this object, whose buffers would stay until the garbage is collected
        return torch.stack(losses).view(count, -1)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Do one iteration on a batch and return the loss of each replicate, still on the device."""
        rate = self.schedule.rate_at(self.iteration)
        for number, group in enumerate(self.optimizer.param_groups):
            if number not in self.constant_rates:
                group["lr"] = rate
        losses_R = self.update(images, labels)
        self.iteration += 1
        return losses_R

    def batches(self) -> Iterator[Batch]:
        """Return this process's training batches, from the next iteration on, without end."""
        train, schedule = self.data.train, self.schedule

        def drawn(seed: int) -> Iterator[Draw]:
            start, end, device = self.iteration, schedule.iterations, train.rows_device
            return draws(len(train), schedule.batch_size, seed, start=start, iterations=end, device=device)

        return train.drawn(self.join(parts) for parts in zip(*map(drawn, self.seeds), strict=True))

    @abstractmethod
    def update(self, images: Tensor, labels: Tensor) -> Tensor:
        """Change the weights once and return the loss of each replicate, still on the device."""

    @abstractmethod
    def join(self, parts: Sequence[Draw]) -> Draw:
        """Combine the replicates' draws for one iteration, one each, into the rows that this process reads."""
