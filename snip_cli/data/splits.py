"""What training and scoring read from a data set, resident or streamed: three splits and the saliency batches.

Shapes: rows_B is int64, images_BCHW floats after normalisation, labels_B int64.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy
import torch
from torch import Tensor

from snip_cli.data.draws import Draw
from snip_cli.errors import ConfigError
from snip_cli.runtime.streams import generator

# (images_BCHW, labels_B)
Batch = tuple[Tensor, Tensor]


class Split(Protocol):
    """Images with labels, read as normalised batches on the run's device."""

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        ...

    @property
    def labels(self) -> Tensor:
        """The class of every row, int64."""
        ...

    @property
    def rows_device(self) -> torch.device:
        """Where rows should be, so that selecting them does not synchronise."""
        ...

    @property
    def pixels(self) -> int:
        """Height × width of an image."""
        ...

    def __len__(self) -> int: ...

    def relabelled(self, labels: Tensor) -> "Split":
        """Return the same images with other labels."""
        ...

    def drawn(self, draws: Iterable[Draw]) -> Iterator[Batch]:
        """Return one augmented batch for each draw."""
        ...

    def selected(self, rows: Iterable[Tensor]) -> Iterator[Batch]:
        """Return one batch without augmentation for each tensor of rows."""
        ...


@dataclass(frozen=True)
class Data:
    """The three splits of a data set.

    If training uses random labels, `truly_labelled` is the training split with its true labels.
    """

    train: Split
    validation: Split
    test: Split
    truly_labelled: Split | None = None

    @property
    def scored(self) -> Split:
        """The images that pruning methods score with."""
        return self.train if self.truly_labelled is None else self.truly_labelled

    def with_random_labels(self, seed: int) -> "Data":
        """Return the same data with shuffled training labels (Section 5.6 of Lee et al. 2019)."""
        order = torch.randperm(len(self.train), generator=generator(seed, "random labels"))
        shuffled = self.train.labels[order.to(self.train.labels.device)]
        return replace(self, train=self.train.relabelled(shuffled), truly_labelled=self.train)


def held_out_rows(count: int, fraction: float, split_seed: int) -> tuple[Tensor, Tensor]:
    """Return (training rows, validation rows) of `count` training images, drawn as in the released code.

    Raises ConfigError if `fraction` leaves no image for one of the two.
    """
    order = torch.from_numpy(numpy.random.RandomState(split_seed).permutation(count))
    held_out = round(count * fraction)
    if not 0 < held_out < count:
        raise ConfigError(
            f"dataset.held_out={fraction} holds out {held_out:,} of {count:,} training images: choose a fraction that leaves images for training and for validation."
        )
    return order[held_out:], order[:held_out]


def saliency_batches(
    split: Split, batch_size: int, batches: int, seed: int, classes: Sequence[int] = ()
) -> list[Batch]:
    """Return the batches that a method scores with: different training images without augmentation, from a random
    stream of their own.

    If `classes` is not empty, only images of these classes are used. Raises ConfigError if there are too few images.
    """
    require_images(split, batch_size, batches, classes)
    rows = torch.randperm(len(split), generator=generator(seed, "saliency batch"))
    if classes:
        rows = rows[torch.isin(split.labels.cpu()[rows], torch.tensor(classes))]
    rows = rows[: batch_size * batches]
    return list(split.selected(rows.to(split.rows_device).split(batch_size)))


def require_images(split: Split, batch_size: int, batches: int, classes: Sequence[int] = ()) -> None:
    """Raise ConfigError if a split has fewer images (of `classes`, if given) than a method's batches need."""
    count = int(torch.isin(split.labels.cpu(), torch.tensor(classes)).sum()) if classes else len(split)
    if batch_size * batches > count:
        of_these = f" of classes {', '.join(map(str, classes))}" if classes else ""
        raise ConfigError(
            f"method.batch_size × method.batches is {batch_size * batches:,}, but there are only {count:,} training images{of_these}: lower one of them."
        )
