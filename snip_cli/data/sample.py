"""A sample of training images with equally many of every class, for methods that measure a trained network's
activations.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snip_cli.data.splits import Batch, Split
from snip_cli.errors import ConfigError
from snip_cli.runtime.streams import generator


@dataclass(frozen=True)
class Sample:
    """Rows of a split as batches without augmentation. Each iteration over the sample makes the batches again."""

    split: Split
    rows: Tensor
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.split.selected(self.rows.to(self.split.rows_device).split(self.batch_size)))

    def of_first_classes(self, classes: int) -> "Sample":
        """Return the part of the sample whose labels are below `classes`, in the same order."""
        labels = self.split.labels.cpu()[self.rows]
        return replace(self, rows=self.rows[labels < classes])


def class_balanced_sample(split: Split, samples_per_class: int, batch_size: int, classes: int, seed: int) -> Sample:
    """Return `samples_per_class` different images of every class, drawn with the run's seed.

    Raises ConfigError if a class has fewer.
    """
    draws = generator(seed, "class-balanced sample")
    return Sample(split, class_balanced_rows(split.labels, samples_per_class, classes, draws), batch_size)


def class_balanced_rows(labels: Tensor, samples_per_class: int, classes: int, generator: torch.Generator) -> Tensor:
    """Return the rows of `samples_per_class` different images of every class, in random order: int64, classes ·
    samples_per_class, on the CPU.

    The SNACS authors' code draws with replacement, so an image may occur twice there. Here none does.

    Args:
        labels: the class of every row, int64 in [0, classes).
        samples_per_class: at least 1.
        classes: the number of classes.
        generator: a CPU generator.

    Raises:
        ConfigError: a class has fewer images.
    """
    labels = labels.cpu()
    require_of_each_class(labels, samples_per_class, classes)
    order = torch.randperm(len(labels), generator=generator)
    chosen = torch.cat([order[labels[order] == label][:samples_per_class] for label in range(classes)])
    return chosen[torch.randperm(len(chosen), generator=generator)]


def require_of_each_class(labels: Tensor, samples_per_class: int, classes: int) -> None:
    """Raise ConfigError if one of the `classes` has fewer than `samples_per_class` images, given the labels of all
    images.
    """
    counts = torch.bincount(labels.cpu(), minlength=classes)[:classes]
    fewest = int(counts.argmin())
    if counts[fewest] == 0:
        raise ConfigError(
            f"Class {fewest} of {classes} has no training image: choose a data set, or a smaller dataset.held_out, that leaves images of every class."
        )
    if counts[fewest] < samples_per_class:
        raise ConfigError(
            f"method.samples_per_class={samples_per_class:,} is too large: class {fewest} has only {counts[fewest]:,} training images. Lower it."
        )
