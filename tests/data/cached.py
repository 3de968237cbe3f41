"""The five images of the fixture `base`, read through the cache."""

from pathlib import Path

import torch

from snip_cli.data import cache
from snip_cli.data.folders import list_images
from tests.data.pictures import as_tensor

EXPECTED = torch.stack([as_tensor(number) for number in (0, 1, 2, 1000, 1001)])


def read(base: Path, size: int = 8) -> torch.Tensor:
    return cache.decoded(base, list_images(base / "train").paths, size, size)


def kept_files(base: Path) -> list[Path]:
    return sorted((base / cache.FOLDER).glob("*.pt"))
