"""A data set that is too large for memory: files and labels, decoded batch by batch while it is trained on."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class Files:
    """The image files of the training and test split, an int64 label for each, and what normalises their pixels.

    `mean` and `std` are of pixels in [0, 1], one number per channel.
    """

    train: list[Path]
    train_labels: Tensor
    test: list[Path]
    test_labels: Tensor
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
