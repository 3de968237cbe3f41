"""A split as the kernels read it."""

from typing import NamedTuple

import torch

from snip_cli.data.resident import ResidentSplit
from snip_cli.data.splits import Split
from snip_cli.training.sparse.tables import Array


class Images(NamedTuple):
    """A split as the kernels read it: uint8 images, one per row; by channel and pixel value, what the network reads; labels."""

    pixels: Array
    levels: Array
    labels: Array

    @classmethod
    def of(cls, split: Split) -> "Images":
        """Return a resident split; its images are not copied."""
        assert isinstance(split, ResidentSplit)
        channels = split.images.shape[1]
        values_1C1V = torch.arange(256, dtype=torch.uint8).expand(1, channels, 1, 256)
        pixels = split.images.reshape(len(split), -1)
        return cls(pixels.numpy(), split.normalise(values_1C1V)[0, :, 0].numpy(), split.labels.numpy())
