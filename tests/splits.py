"""Splits of floating-point images, for tests that want no normalisation."""

import torch
from torch import Tensor

from snip_cli.data.resident import Normalisation, ResidentSplit


def split_of(images: Tensor, labels: Tensor) -> ResidentSplit:
    """A split whose batches are the images as they are."""
    one, zero = torch.ones(1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.float64)
    as_they_are = Normalisation(one, zero, images.dtype)
    return ResidentSplit(images, labels, as_they_are)
