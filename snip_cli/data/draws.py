"""The order in which a seed sees the training images, batch by batch, and the random numbers that augment them.

Shapes: rows_B and numbers_B are int64.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from snip_cli.runtime.streams import generator

# The random number of an image lies in [0, NUMBERS).
NUMBERS = 2**62


@dataclass(frozen=True)
class Draw:
    """The draw of one training batch.

    rows (B,): the images, as rows of the split.
    numbers (B,): one random number in [0, 2^62) per image, which decides how it is augmented.
    progress: the fraction of the training before this batch, in [0, 1).
    """

    rows: Tensor
    numbers: Tensor
    progress: float

    def share(self, rank: int, size: int) -> "Draw":
        """Return the part of the batch that process `rank` of `size` trains on."""
        return Draw(self.rows[rank::size], self.numbers[rank::size], self.progress)


def draws(
    count: int,
    batch_size: int,
    seed: int,
    *,
    start: int = 0,
    iterations: int | None = None,
    device: torch.device | None = None,
) -> Iterator[Draw]:
    """Yield the draws of iterations `start`, `start` + 1, … without end.

    Images are reshuffled every epoch, and a batch may span two epochs. A draw follows from the seed and the iteration
    alone.

    Args:
        count: the number of training images.
        batch_size: images per batch.
        seed: the run's seed.
        start: the first iteration.
        iterations: the length of the training, for `progress`, which is 0 without it.
        device: where draws are put, one epoch at a time.
    """

    def epoch_draws(epoch: int) -> Tensor:
        order = epoch_order(count, seed, epoch)
        numbers = torch.randint(NUMBERS, (count,), generator=generator(seed, "augmentation", epoch))
        both = torch.stack([order, numbers])
        # Copying from pinned memory does not block.
        return both.pin_memory().to(device, non_blocking=True) if device and device.type == "cuda" else both

    epoch, offset = divmod(start * batch_size, count)
    left = epoch_draws(epoch)[:, offset:]
    iteration = start
    while True:
        while left.shape[1] < batch_size:
            epoch += 1
            left = torch.cat([left, epoch_draws(epoch)], dim=1)
        rows, numbers = left[:, :batch_size]
        yield Draw(rows, numbers, iteration / iterations if iterations else 0.0)
        left = left[:, batch_size:]
        iteration += 1


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Return the order of `count` training images in an epoch, counted from 0."""
    return torch.randperm(count, generator=generator(seed, "batch order", epoch))


class BatchOrder:
    """The rows of a seed's batches, those of `draws`, for many iterations at a time."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self._orders: dict[int, Tensor] = {}

    def rows(self, start: int, end: int) -> Tensor:
        """Return the rows of iterations `start` to `end` - 1, (iterations, batch)."""
        first, offset = divmod(start * self.batch_size, self.count)
        last = (end * self.batch_size - 1) // self.count
        known = self._orders
        self._orders = {
            epoch: known[epoch] if epoch in known else epoch_order(self.count, self.seed, epoch)
            for epoch in range(first, last + 1)
        }
        needed = offset + (end - start) * self.batch_size
        begins = range(0, needed, self.count)
        parts = [
            order[max(0, offset - at) : needed - at] for at, order in zip(begins, self._orders.values(), strict=True)
        ]
        return torch.cat(parts).view(end - start, self.batch_size)
