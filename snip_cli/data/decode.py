"""Image files → one uint8 tensor, on several threads: PIL lets go of the interpreter while it decodes."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from snip_cli.errors import ConfigError

MOST_THREADS = 16
AT_ONCE = 64  # images that a thread decodes in one go, so that handing them out costs nothing


def decode(paths: Sequence[Path], height: int, width: int) -> Tensor:
    """The images as uint8, N×3×`height`×`width`, in the order of `paths`; a bar on stderr where that is a terminal.

    Raises ConfigError, naming the file, where one cannot be decoded.
    """
    images_NCHW = numpy.empty((len(paths), 3, height, width), dtype=numpy.uint8)

    def fill(start: int) -> int:
        part = paths[start : start + AT_ONCE]
        for place, path in enumerate(part, start):
            images_NCHW[place] = decode_one(path, height, width)
        return len(part)

    with (
        ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool,
        tqdm(total=len(paths), desc="decoding", unit="image", disable=None, leave=False, dynamic_ncols=True) as bar,
    ):
        for count in pool.map(fill, range(0, len(paths), AT_ONCE)):
            bar.update(count)
    return torch.from_numpy(images_NCHW)


def decode_one(path: Path, height: int, width: int) -> numpy.ndarray:
    """One image as uint8, 3×`height`×`width`.

    An image of another size is scaled, bilinear with antialiasing, until its shorter side fits, and cropped around its centre. Raises
    ConfigError where it cannot be decoded.
    """
    image = open_rgb(path)
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    return numpy.asarray(image).transpose(2, 0, 1)


def open_rgb(path: Path) -> Image.Image:
    """The image in a file: grey becomes three equal channels, transparency is dropped.

    Its orientation tag is not followed, as torchvision does not. Raises ConfigError where it cannot be decoded.
    """
    try:
        with Image.open(path) as file:
            # PIL would cut such values off at 255 and so make white of almost everything.
            if file.mode == "F" or file.mode.startswith("I"):
                raise ConfigError(f"{path} has more than 8 bits a channel: convert it to 8 bits.")
            return file.convert("RGB")
    except ConfigError:
        raise
    except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error and more, by format
        raise ConfigError(
            f"{path} cannot be decoded ({' '.join(str(error).split())}): copy it again or delete it."
        ) from error
