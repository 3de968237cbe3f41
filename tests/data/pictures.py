"""Makes small image files for the tests of data sets."""

from pathlib import Path

import numpy
import torch
from PIL import Image


def pixels(number: int, height: int = 8, width: int = 8) -> numpy.ndarray:
    """Random pixels H×W×3, different for every number."""
    return numpy.random.RandomState(number).randint(256, size=(height, width, 3), dtype=numpy.uint8)


def draw(path: Path, number: int = 0, height: int = 8, width: int = 8) -> Path:
    """Write the image `pixels(number)` in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(number, height, width)).save(path)
    return path


def as_tensor(number: int, height: int = 8, width: int = 8) -> torch.Tensor:
    """The decoded pixels of a lossless image: 3×H×W."""
    return torch.from_numpy(pixels(number, height, width)).permute(2, 0, 1)


def draw_classes(
    folder: Path, counts: dict[str, int], *, inside: str = "", suffix: str = ".png", size: int = 8
) -> None:
    """Write the given number of images of each class, named 0, 1, …, all different."""
    for place, (name, count) in enumerate(counts.items()):
        for number in range(count):
            draw(folder / name / inside / f"{number}{suffix}", 1000 * place + number, size, size)


def one_sentence(error: BaseException) -> str:
    """The text of an error. Checks that it is one line with a remedy after a colon."""
    text = str(error)
    assert "\n" not in text
    assert text.endswith(".")
    assert ": " in text
    return text
