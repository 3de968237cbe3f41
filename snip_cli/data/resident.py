"""A data set as tensors that stay on the device: there are no worker processes, and a batch is a selection of rows.

Images are kept as decoded, uint8. A small data set is also normalised once; of a larger one each batch is normalised
when it is taken.

Shapes: N images of a split, B images of a batch, C channels, H×W pixels, V values of a pixel.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from snip_cli.data.draws import Draw
from snip_cli.data.splits import Batch, Data, held_out_rows

# A split is normalised once if that takes at most so many bytes. In float32 MNIST takes 169 MB and CIFAR-10 553 MB.
READY_BYTES = 2**28

# (images_BCHW, numbers_B) → images_BCHW: augments each image according to its random number.
Augmentation = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Raw:
    """A data set that fits into memory: uint8 images N×C×H×W and int64 labels N, for training and test."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Normalisation:
    """pixel · scale + shift per channel (float64, C×1×1), rounded once to `dtype`."""

    scale: Tensor
    shift: Tensor
    dtype: torch.dtype

    def __call__(self, pixels_BCHW: Tensor) -> Tensor:
        return pixels_BCHW.to(torch.float64).mul_(self.scale).add_(self.shift).to(self.dtype)


def normalisation(mean_C: Tensor, std_C: Tensor, device: torch.device, dtype: torch.dtype) -> Normalisation:
    """Return what brings uint8 pixels to mean 0 and standard deviation 1, given the statistics of pixels scaled to [0,
    1].
    """
    mean_C11, std_C11 = (statistic.double()[:, None, None].to(device) for statistic in (mean_C, std_C))
    return Normalisation(1 / (255 * std_C11), -mean_C11 / std_C11, dtype)


@dataclass(frozen=True)
class ResidentSplit:
    """uint8 images N×C×H×W and labels N on the run's device. `ready` are the normalised images, if they are kept."""

    images: Tensor
    labels: Tensor
    normalise: Normalisation
    augment: Augmentation | None = None
    ready: Tensor | None = None

    @property
    def device(self) -> torch.device:
        return self.labels.device

    rows_device = device

    @property
    def pixels(self) -> int:
        return prod(self.images.shape[2:])

    def __len__(self) -> int:
        return len(self.labels)

    def relabelled(self, labels: Tensor) -> "ResidentSplit":
        """Return the same images with other labels."""
        return replace(self, labels=labels)

    def _batch(self, rows_B: Tensor) -> Batch:
        if self.ready is not None:
            return self.ready.index_select(0, rows_B), self.labels.index_select(0, rows_B)
        return self.normalise(self.images.index_select(0, rows_B)), self.labels.index_select(0, rows_B)

    def drawn(self, draws: Iterable[Draw]) -> Iterator[Batch]:
        """Return one augmented batch for each draw."""
        for draw in draws:
            images, labels = self._batch(draw.rows)
            yield images if self.augment is None else self.augment(images, draw.numbers), labels

    def selected(self, rows: Iterable[Tensor]) -> Iterator[Batch]:
        """Return one batch without augmentation for each tensor of rows."""
        return map(self._batch, rows)


def resident(
    raw: Raw,
    *,
    split_seed: int,
    device: torch.device,
    dtype: torch.dtype,
    held_out: float = 0.1,
    augment: Augmentation | None = None,
) -> Data:
    """Split `raw` as the released code does and put it on `device`.

    The fraction `held_out` of the training images, drawn with `split_seed`, becomes the validation split, which is
    never augmented. The mean and standard deviation of the normalisation are one number per channel, over all training
    images before the split.
    """
    normalise = normalisation(*channel_statistics(raw.train_images), device, dtype)

    def split(images: Tensor, labels: Tensor, augment: Augmentation | None = None) -> ResidentSplit:
        images = images.to(device)
        small = images.numel() * dtype.itemsize <= READY_BYTES
        ready = torch.cat([normalise(part) for part in images.split(1000)]) if small else None
        return ResidentSplit(images, labels.to(device), normalise, augment, ready)

    train, validation = held_out_rows(len(raw.train_labels), held_out, split_seed)
    return Data(
        train=split(raw.train_images[train], raw.train_labels[train], augment),
        validation=split(raw.train_images[validation], raw.train_labels[validation]),
        test=split(raw.test_images, raw.test_labels),
    )


def channel_statistics(images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per channel of uint8 images scaled to [0, 1], exact in double precision."""
    values_V = torch.arange(256, dtype=torch.float64) / 255
    counts_CV = torch.stack(
        [torch.bincount(channel.flatten(), minlength=256) for channel in images_NCHW.transpose(0, 1)]
    ).double()
    share_CV = counts_CV / counts_CV.sum(dim=1, keepdim=True)
    mean_C = share_CV @ values_V
    return mean_C, (share_CV @ values_V.square() - mean_C.square()).clamp_min(1e-12).sqrt()
