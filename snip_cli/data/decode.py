"""Image files → one uint8 tensor, on several threads, because PIL releases the interpreter lock while it decodes."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from snip_cli.errors import ConfigError

MOST_THREADS = 16
AT_ONCE = 64  # images per task of a thread, enough that the cost of scheduling is negligible


def decode(paths: Sequence[Path], height: int, width: int) -> Tensor:
    """Return the images as uint8, N×3×`height`×`width`, in the order of `paths`.

    Raises ConfigError, which names the file, if one cannot be decoded.
    """
    images_NCHW = numpy.empty((len(paths), 3, height, width), dtype=numpy.uint8)

    def fill(number: int, path: Path) -> None:
        images_NCHW[number] = decode_one(path, height, width)

    map_in_threads(fill, paths, "decoding")
    return torch.from_numpy(images_NCHW)


def map_in_threads(task: Callable[[int, Path], None], paths: Sequence[Path], label: str) -> None:
    """Call `task(number, path)` for all paths on several threads.

    Shows a progress bar if stderr is a terminal. Raises the first error.
    """

    def do_part(start: int) -> int:
        part = paths[start : start + AT_ONCE]
        for number, path in enumerate(part, start):
            task(number, path)
        return len(part)

    with (
        ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool,
        tqdm(total=len(paths), desc=label, unit="image", disable=None, leave=False, dynamic_ncols=True) as bar,
    ):
        for count in pool.map(do_part, range(0, len(paths), AT_ONCE)):
            bar.update(count)


def check_header(path: Path) -> None:
    """Raise ConfigError unless the file starts like an image; only its header is read."""
    try:
        Image.open(path).close()
    except Exception as error:  # PIL raises OSError, SyntaxError, struct.error and more, depending on the format
        raise unreadable(path, error, "is not an image") from error


def unreadable(path: Path, error: Exception, complaint: str) -> ConfigError:
    """Return the error for a file that Pillow cannot read; `complaint` is what is wrong in most cases."""
    reason = " ".join(str(error).split())
    remedy = "copy it again or delete it"
    if isinstance(error, Image.DecompressionBombError):
        complaint, remedy = "is too large", "scale it down or delete it"
        reason = reason.partition(",")[0]  # the rest is about attacks
    elif isinstance(error, PermissionError):
        complaint, reason, remedy = "cannot be read", error.strerror or reason, "make it readable"
    elif isinstance(error, MemoryError):
        complaint, reason, remedy = "does not fit into memory", "out of memory", "scale it down or delete it"
    return ConfigError(f"{path} {complaint} ({reason}): {remedy}.")


def decode_one(path: Path, height: int, width: int) -> numpy.ndarray:
    """Return one image as uint8, 3×`height`×`width`.

    An image of another size is scaled (bilinear with antialiasing) so that it just covers the target, and cropped
    around its centre. Raises ConfigError if it cannot be decoded.
    """
    image = open_rgb(path)
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    return numpy.asarray(image).transpose(2, 0, 1)


def open_rgb(path: Path) -> Image.Image:
    """Return the image in a file. Grey becomes three equal channels and transparency is dropped.

    The orientation tag is ignored, as in torchvision. Raises ConfigError if the file cannot be decoded.
    """
    try:
        with Image.open(path) as file:
            # PIL would clip such values at 255, which turns almost everything white.
            if file.mode == "F" or file.mode.startswith("I"):
                raise ConfigError(f"{path} has more than 8 bits per channel: convert it to 8 bits.")
            return file.convert("RGB")
    except ConfigError:
        raise
    except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error and more
        raise unreadable(path, error, "cannot be decoded") from error
