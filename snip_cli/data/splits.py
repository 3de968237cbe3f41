"""What training reads from a data set, resident or streamed: three splits, and batches in an order that seed and iteration fix.

Shapes: rows_B and numbers_B are int64, images_BCHW floats after normalisation, labels_B int64.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy
import torch
from torch import Tensor

from snip_cli.errors import ConfigError
from snip_cli.runtime.streams import generator

Batch = tuple[Tensor, Tensor]

# Random numbers of an image lie in [0, NUMBERS).
NUMBERS = 2**62


@dataclass(frozen=True)
class Draw:
    """One training batch as drawn: rows_B of the split, numbers_B (random, one per image, in [0, 2^62)) that decide how each image
    is augmented, and the part of the training, in [0, 1), that lies before it."""

    rows: Tensor
    numbers: Tensor
    progress: float

    def share(self, rank: int, size: int) -> "Draw":
        """The part of the batch that process `rank` of `size` trains on."""
        return Draw(self.rows[rank::size], self.numbers[rank::size], self.progress)


class Split(Protocol):
    """Images with labels, given as normalised batches on the run's device."""

    device: torch.device

    @property
    def labels(self) -> Tensor:
        """The class of every row, int64."""
        ...

    @property
    def rows_device(self) -> torch.device:
        """Where rows are wanted: selecting there waits for nothing."""
        ...

    @property
    def pixels(self) -> int:
        """Height × width of an image."""
        ...

    def __len__(self) -> int: ...

    def relabelled(self, labels: Tensor) -> "Split":
        """The same images with other labels."""
        ...

    def drawn(self, draws: Iterable[Draw]) -> Iterator[Batch]:
        """One augmented batch for each draw."""
        ...

    def selected(self, rows: Iterable[Tensor]) -> Iterator[Batch]:
        """One batch, not augmented, for each tensor of rows."""
        ...


@dataclass(frozen=True)
class Data:
    """The three splits of a data set, and the training split with its true labels where it trains on others."""

    train: Split
    validation: Split
    test: Split
    truly_labelled: Split | None = None

    @property
    def scored(self) -> Split:
        """The images that pruning methods score with."""
        return self.train if self.truly_labelled is None else self.truly_labelled

    def with_random_labels(self, seed: int) -> "Data":
        """The same with the labels of the training images shuffled (Section 5.6 of Lee et al. 2019)."""
        order = torch.randperm(len(self.train), generator=generator(seed, "random labels"))
        shuffled = self.train.labels[order.to(self.train.labels.device)]
        return replace(self, train=self.train.relabelled(shuffled), truly_labelled=self.train)


def held_out_rows(count: int, fraction: float, split_seed: int) -> tuple[Tensor, Tensor]:
    """(rows that train, rows that validate) of `count` training images, drawn as the released code draws them.

    Raises ConfigError where `fraction` leaves one of the two without an image.
    """
    order = torch.from_numpy(numpy.random.RandomState(split_seed).permutation(count))
    held_out = round(count * fraction)
    if not 0 < held_out < count:
        raise ConfigError(
            f"dataset.held_out={fraction} of {count:,} training images is {held_out:,}: choose one that leaves images to train and to validate."
        )
    return order[held_out:], order[:held_out]


def draws(
    count: int,
    batch_size: int,
    seed: int,
    *,
    start: int = 0,
    iterations: int | None = None,
    device: torch.device | None = None,
) -> Iterator[Draw]:
    """The batches of iteration `start`, `start` + 1, …, for ever: reshuffled every epoch, batches go on across its end.

    All of it follows from the seed and the iteration alone; an epoch of it lies on `device` at a time. `iterations`, the length of
    the training, is what `progress` is measured by (0 where it is not given).
    """

    def epoch_draws(epoch: int) -> Tensor:
        order = torch.randperm(count, generator=generator(seed, "batch order", epoch))
        numbers = torch.randint(NUMBERS, (count,), generator=generator(seed, "augmentation", epoch))
        both = torch.stack([order, numbers])
        # From pinned memory a GPU takes it without a halt.
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


def saliency_batches(
    split: Split, batch_size: int, batches: int, seed: int, classes: Sequence[int] = ()
) -> list[Batch]:
    """The batches that a method scores with: different training images, not augmented, from a stream of their own.

    With `classes` images of these alone. Raises ConfigError where there are too few.
    """
    require_images(split, batch_size, batches, classes)
    rows = torch.randperm(len(split), generator=generator(seed, "saliency batch"))
    if classes:
        rows = rows[torch.isin(split.labels.cpu()[rows], torch.tensor(classes))]
    rows = rows[: batch_size * batches]
    return list(split.selected(rows.to(split.rows_device).split(batch_size)))


def require_images(split: Split, batch_size: int, batches: int, classes: Sequence[int] = ()) -> None:
    """Raise ConfigError where a split has fewer images (of `classes`, if any) than the batches that a method scores with."""
    count = int(torch.isin(split.labels.cpu(), torch.tensor(classes)).sum()) if classes else len(split)
    if batch_size * batches > count:
        of_these = f" of classes {', '.join(map(str, classes))}" if classes else ""
        raise ConfigError(
            f"method.batch_size × method.batches is {batch_size * batches:,} but there are {count:,} training images{of_these}: lower one."
        )
