"""How images lie in padded planes, and the way there and back.

T: tiles of 16 images, C: channels, S: the pixels of a plane with what pads it, N: images.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snip_cli.training.sparse.kernels.vectors import MOST, WIDTH
from snip_cli.training.sparse.tables import Array


@dataclass(frozen=True)
class Geometry:
    """The height and width of an image in pixels.

    A row begins with a pixel of zeros, which also ends the row before it; a row of zeros comes first, and another one last.
    """

    height: int
    columns: int

    @property
    def pitch(self) -> int:
        """The pixels of a padded row."""
        return self.columns + 1

    @property
    def pixels(self) -> int:
        """The pixels of a plane: an odd number, so that planes do not compete for the same few lines of the first cache."""
        return (self.height + 2) * self.pitch + 1 | 1

    @property
    def plane(self) -> int:
        """The numbers of a plane."""
        return self.pixels * WIDTH

    def runs(self) -> Array:
        """Return rows (place in a plane in numbers, vectors) that cover all pixels, each at most `MOST` vectors, equally long to one."""
        vectors = self.height * self.pitch - 1
        counts = np.diff(np.linspace(0, vectors, -(-vectors // MOST) + 1).round().astype(np.int64))
        starts = self.pitch + 1 + counts.cumsum() - counts
        return np.stack([starts * WIDTH, counts], axis=1)


@dataclass(frozen=True)
class Planes:
    """Values of a batch of `images` in padded planes: T×C×S×16, 0 for what fills the last tile up.

    Between the rows lie zeros if `convolve` is to read them, and anything after it has written them.
    """

    values: Tensor
    geometry: Geometry
    images: int


def room(images: int, channels: int, geometry: Geometry, dtype: torch.dtype) -> Tensor:
    """Return zeros for the planes of so many images."""
    return torch.zeros(-(-images // WIDTH), channels, geometry.pixels, WIDTH, dtype=dtype)


def inner(values_TCSB: Tensor, geometry: Geometry) -> Tensor:
    """Return the view T×16×C×H×W of the pixels of images."""
    rows = values_TCSB[:, :, : (geometry.height + 2) * geometry.pitch].unflatten(2, (-1, geometry.pitch))
    return rows[:, :, 1:-1, 1:].permute(0, 4, 1, 2, 3)


def into_planes(out_TCSB: Tensor, images_NCHW: Tensor, geometry: Geometry) -> None:
    """Copy images into planes; what fills the last tile up becomes 0."""
    pixels = inner(out_TCSB, geometry)
    whole, rest = divmod(len(images_NCHW), WIDTH)
    pixels[:whole].copy_(images_NCHW[: whole * WIDTH].unflatten(0, (whole, WIDTH)))
    if rest:
        pixels[whole, :rest].copy_(images_NCHW[whole * WIDTH :])
        pixels[whole, rest:].zero_()


def from_planes(values_TCSB: Tensor, geometry: Geometry, images: int) -> Tensor:
    """Return the images as N×C×H×W, channels last in memory."""
    pixels = inner(values_TCSB, geometry)
    shape = (pixels.shape[0] * WIDTH, *pixels.shape[2:])
    out = torch.empty(shape, dtype=values_TCSB.dtype, memory_format=torch.channels_last)
    out.unflatten(0, (-1, WIDTH)).copy_(pixels)
    return out[:images]
