"""A split as the kernels read it."""

from typing import Any, NamedTuple

import numpy as np
import torch

from snip_cli.data.resident import ResidentSplit
from snip_cli.data.splits import Split
from snip_cli.training.sparse.kernels.records import Reading
from snip_cli.training.sparse.kernels.vectors import WIDTH
from snip_cli.training.sparse.tables import Array


class Images(NamedTuple):
    """A split as the kernels read it.

    Attributes:
        pixels: uint8 images, one per row.
        scales, shifts: by pixel; the network reads scale · byte + shift.
        labels: by image.
    """

    pixels: Array
    scales: Array
    shifts: Array
    labels: Array

    @classmethod
    def none(cls, pixels: int, dtype: Any) -> "Images":
        """Return a split without images of a number of pixels."""
        return cls(
            np.zeros((0, pixels), np.uint8), np.zeros(pixels, dtype), np.zeros(pixels, dtype), np.zeros(0, np.int64)
        )

    @classmethod
    def of(cls, split: Split) -> "Images":
        """Return a resident split; its images are copied only if they do not lie one after another, as the kernels read them."""
        assert isinstance(split, ResidentSplit)
        darkest, brightest = split.normalise(
            torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, *split.images.shape[1:])
        ).reshape(2, -1)
        pixels = split.images.reshape(len(split), -1).contiguous()
        return cls(pixels.numpy(), ((brightest - darkest) / 255).numpy(), darkest.numpy(), split.labels.numpy())


def reading_of(read: Array, pixels: int, stride: int) -> Reading:
    """Return how to read the pixels `read`, a row every `stride` numbers; one more row takes what lies between them."""
    places = np.full(pixels, len(read) * stride)
    places[read] = np.arange(len(read)) * stride
    return Reading(squares_of(read, pixels), places)


def squares_of(read: Array, pixels: int) -> Array:
    """Return the first pixel of each 16 neighbouring ones by which the kernels read, so that these hold the pixels `read`."""
    return np.minimum(np.unique(read // WIDTH) * WIDTH, pixels - WIDTH)
