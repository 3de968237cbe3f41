"""A sample of training images with equally many of every class, for methods that look at what a trained network does with them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snip_cli.data.splits import Batch, Split
from snip_cli.errors import ConfigError
from snip_cli.runtime.streams import generator


@dataclass(frozen=True)
class Sample:
    """Rows of a split, given as batches that are made anew, and not augmented, each time they are gone through."""

    split: Split
    rows: Tensor
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.split.selected(self.rows.to(self.split.rows_device).split(self.batch_size)))

    def of_first_classes(self, classes: int) -> "Sample":
        """The rows of classes below `classes`, in their order."""
        labels = self.split.labels.cpu()[self.rows]
        return replace(self, rows=self.rows[labels < classes])


def class_balanced_sample(split: Split, samples_per_class: int, batch_size: int, classes: int, seed: int) -> Sample:
    """`samples_per_class` different images of every class, drawn with the run's seed; raises ConfigError where a class has fewer."""
    draws = generator(seed, "class-balanced sample")
    return Sample(split, class_balanced_rows(split.labels, samples_per_class, classes, draws), batch_size)


def class_balanced_rows(labels: Tensor, samples_per_class: int, classes: int, generator: torch.Generator) -> Tensor:
    """Rows of `samples_per_class` different images of every class, int64 of classes × samples_per_class on the CPU, in random order.

    The authors' code of SNACS draws with replacement, so that an image may come twice; here none does.

    Args:
        labels: the class of every row, int64 in [0, classes).
        samples_per_class: at least 1.
        classes: how many classes there are.
        generator: on the CPU.

    Raises:
        ConfigError: a class has fewer images than asked for.
    """
    labels = labels.cpu()
    require_of_each_class(labels, samples_per_class, classes)
    order = torch.randperm(len(labels), generator=generator)
    chosen = torch.cat([order[labels[order] == label][:samples_per_class] for label in range(classes)])
    return chosen[torch.randperm(len(chosen), generator=generator)]


def require_of_each_class(labels: Tensor, samples_per_class: int, classes: int) -> None:
    """Raise ConfigError where one of `classes` has fewer images than `samples_per_class`; `labels` are those of all images."""
    counts = torch.bincount(labels.cpu(), minlength=classes)[:classes]
    fewest = int(counts.argmin())
    if counts[fewest] == 0:
        raise ConfigError(
            f"No training image is of class {fewest} of {classes}: use a data set, or a smaller dataset.held_out, that leaves images of each."
        )
    if counts[fewest] < samples_per_class:
        raise ConfigError(
            f"method.samples_per_class={samples_per_class:,} but class {fewest} has {counts[fewest]:,} training images: lower it."
        )
