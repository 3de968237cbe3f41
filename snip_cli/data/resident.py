"""A data set as tensors that stay on the device: no worker processes, a batch is a selection of rows.

Shapes: images_NCHW are floats after normalisation, labels_N are int64.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from snip_cli.errors import ConfigError
from snip_cli.streams import generator

VALIDATION_FRACTION = 0.1


@dataclass(frozen=True)
class Raw:
    """What a data set's file gives: uint8 images N×C×H×W and int64 labels N, for training and test."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Split:
    """Normalised images N×C×H×W and labels N on the run's device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Data:
    """The three splits of a data set."""

    train: Split
    validation: Split
    test: Split


def resident(raw: Raw, *, split_seed: int, device: torch.device, dtype: torch.dtype) -> Data:
    """Normalise and split `raw` as the released code does, and put it on `device`.

    Mean and standard deviation are one number per channel, of all training images before the split; a tenth of the training images,
    drawn with `split_seed`, becomes the validation split.
    """
    mean_C, std_C = channel_statistics(raw.train_images)

    def split(images: Tensor, labels: Tensor) -> Split:
        scaled = (images.to(torch.float64) / 255 - mean_C[:, None, None]) / std_C[:, None, None]
        return Split(scaled.to(device=device, dtype=dtype), labels.to(device))

    order = torch.from_numpy(numpy.random.RandomState(split_seed).permutation(len(raw.train_labels)))
    held_out = round(len(order) * VALIDATION_FRACTION)
    validation, train = order[:held_out], order[held_out:]
    return Data(
        train=split(raw.train_images[train], raw.train_labels[train]),
        validation=split(raw.train_images[validation], raw.train_labels[validation]),
        test=split(raw.test_images, raw.test_labels),
    )


def channel_statistics(images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel of uint8 images scaled to [0, 1], exact in double precision."""
    counts_CV = torch.stack(
        [torch.bincount(channel.flatten(), minlength=256) for channel in images_NCHW.transpose(0, 1)]
    ).double()
    values_V = torch.arange(256, dtype=torch.float64) / 255
    share_CV = counts_CV / counts_CV.sum(dim=1, keepdim=True)
    mean_C = share_CV @ values_V
    return mean_C, (share_CV @ values_V.square() - mean_C.square()).clamp_min(1e-12).sqrt()


def batch_indices(
    count: int, batch_size: int, seed: int, start: int = 0, device: torch.device | None = None
) -> Iterator[Tensor]:
    """Rows of the training split for iteration `start`, `start` + 1, …: reshuffled every epoch, batches go on across its end.

    The order is drawn on the CPU and follows from the seed and the iteration alone; an epoch of it lies on `device` at a time.
    """

    def epoch_order(epoch: int) -> Tensor:
        return torch.randperm(count, generator=generator(seed, "batch order", epoch)).to(device)

    epoch, offset = divmod(start * batch_size, count)
    order = epoch_order(epoch)[offset:]
    while True:
        while len(order) < batch_size:
            epoch += 1
            order = torch.cat([order, epoch_order(epoch)])
        yield order[:batch_size]
        order = order[batch_size:]


def training_batches(split: Split, batch_size: int, seed: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Training batches from iteration `start` on, for ever."""
    for rows in batch_indices(len(split), batch_size, seed, start, split.labels.device):
        yield split.images[rows], split.labels[rows]


def saliency_batches(split: Split, batch_size: int, batches: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """The batches that a method scores with: different training images, not augmented, from a stream of their own."""
    if batch_size * batches > len(split):
        raise ConfigError(
            f"method.batch_size × method.batches is {batch_size * batches:,} but there are {len(split):,} training images: lower one."
        )
    rows = torch.randperm(len(split), generator=generator(seed, "saliency batch"))[: batch_size * batches]
    rows = rows.to(split.labels.device)
    return [(split.images[part], split.labels[part]) for part in rows.split(batch_size)]
