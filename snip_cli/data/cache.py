"""What is remembered about a folder of images, in its subfolder .snip-run: the decoded images, and that every file is
an image.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import PIL
import torch
from torch import Tensor

from snip_cli.data.decode import check_header, decode, map_in_threads
from snip_cli.data.folders import Listing
from snip_cli.data.resident import Raw
from snip_cli.runtime.files import write_atomically
from snip_cli.runtime.locks import hold

FOLDER = ".snip-run"
VERSION = 1  # increase it when the output of `decode` changes

log = logging.getLogger("snip_cli")


def read_images(base: Path, train: Listing, test: Listing, *, height: int, width: int) -> Raw:
    """Return the images of both splits, whose files lie below `base`, decoded to `height`×`width`.

    Raises ConfigError like `decode`.
    """
    images_NCHW = decoded(base, [*train.paths, *test.paths], height, width)
    return Raw(images_NCHW[: len(train.paths)], train.labels, images_NCHW[len(train.paths) :], test.labels)


def decoded(base: Path, paths: Sequence[Path], height: int, width: int) -> Tensor:
    """Return what `decode` returns, from a cache in `base`/.snip-run that is valid until the files, their order or the
    decoder change.

    Runs that start together decode once. If the cache cannot be written, a warning is logged.
    """
    key = fingerprint(base, paths, height, width)
    size = f"{height}x{width}"
    kept = base / FOLDER / f"{size}-{key[:16]}.pt"
    shape = (len(paths), 3, height, width)
    if (images := load(kept, key, shape)) is not None:
        return images
    try:
        kept.parent.mkdir(exist_ok=True)
        held = hold(kept.parent / f"{size}.lock", f"decoding the images in {base}")
    except OSError as error:
        warn_not_kept(kept.parent, error)
        return decode(paths, height, width)
    with held:
        if (images := load(kept, key, shape)) is None:  # no other run wrote it while this one waited for the lock
            log.info("decoding %s images in %s; later runs read them from a cache", f"{len(paths):,}", base)
            images = decode(paths, height, width)
            store(kept, key, images, size)
    return images


def require_readable(base: Path, paths: Sequence[Path]) -> None:
    """Raise ConfigError, which names the file, unless each of `paths`, which lie below `base`, starts like an image.

    A streamed image is decoded hours into training, so all headers are read before. A file that breaks off later is
    reported when it is decoded. A success is remembered in `base`/.snip-run until one of the files changes.
    """
    mark = base / FOLDER / f"readable-{fingerprint(base, paths, 0, 0)[:16]}"
    if mark.exists():
        return
    map_in_threads(lambda _, path: check_header(path), paths, "checking")
    with suppress(OSError):  # if it cannot be remembered, the next run reads the headers again
        mark.parent.mkdir(exist_ok=True)
        mark.touch()


def fingerprint(base: Path, paths: Sequence[Path], height: int, width: int) -> str:
    """Return a hash of everything that the decoded images depend on: the files' order, relative paths, sizes and times,
    the image size, and the decoder.
    """
    content = hashlib.sha256(f"{VERSION} {PIL.__version__} {height} {width}".encode())
    for path in paths:
        status = path.stat()
        content.update(
            f"\0{os.path.relpath(path, base)}\0{status.st_size} {status.st_mtime_ns}".encode(errors="surrogateescape")
        )
    return content.hexdigest()


def load(kept: Path, key: str, shape: tuple[int, ...]) -> Tensor | None:
    """Return the images in the file `kept`, mapped into memory; None if it is missing, damaged or has another key or
    shape.
    """
    try:
        content = torch.load(kept, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch.load raises almost anything for a foreign or incomplete file
        return None
    if not isinstance(content, dict) or content.get("key") != key or not isinstance(content.get("images"), Tensor):
        return None
    images = content["images"]
    if images.dtype != torch.uint8 or tuple(images.shape) != shape or content.get("digest") != digest(images):
        return None
    return images


def store(kept: Path, key: str, images: Tensor, size: str) -> None:
    """Write the file `kept`, which replaces earlier files for the same image size. Log a warning if that fails."""
    content = {"key": key, "digest": digest(images), "images": images}
    try:
        discard(kept.parent, f"{size}-*.pt")
        write_atomically(kept, lambda file: torch.save(content, file))
    except OSError as error:
        warn_not_kept(kept.parent, error)
    discard(kept.parent, f".{size}-*.tmp")  # left by a full disk or a killed run


def discard(folder: Path, pattern: str) -> None:
    """Delete the files in `folder` that match `pattern`; files that cannot be deleted stay."""
    for path in folder.glob(pattern):
        with suppress(OSError):
            path.unlink()


def digest(images: Tensor) -> str:
    return hashlib.sha256(images.numpy().data).hexdigest()


def warn_not_kept(folder: Path, error: OSError) -> None:
    log.warning(
        "the decoded images cannot be kept in %s (%s), so every run decodes them again: free space there or make the folder writable",
        folder,
        error.strerror,
    )
