"""A data set that is too large for memory: files and labels, decoded batch by batch while it is trained on."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class Files:
    """The image files of the training and test split, and an int64 label for each."""

    train: list[Path]
    train_labels: Tensor
    test: list[Path]
    test_labels: Tensor
