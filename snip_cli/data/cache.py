"""Folders of images as tensors: decoded once, and kept beside the images for the next run."""

import hashlib
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import PIL
import torch
from filelock import FileLock
from torch import Tensor

from snip_cli.data.decode import decode
from snip_cli.data.folders import Listing
from snip_cli.data.resident import Raw
from snip_cli.runfolder.record import write_atomically

FOLDER = ".snip-run"
VERSION = 1  # to be raised with every change of what the decoder gives

log = logging.getLogger("snip_cli")


def read_images(base: Path, train: Listing, test: Listing, *, height: int, width: int) -> Raw:
    """The images of both splits, which lie below `base`, decoded to `height`×`width`; raises ConfigError as `decode` does."""
    images_NCHW = decoded(base, [*train.paths, *test.paths], height, width)
    return Raw(images_NCHW[: len(train.paths)], train.labels, images_NCHW[len(train.paths) :], test.labels)


def decoded(base: Path, paths: Sequence[Path], height: int, width: int) -> Tensor:
    """`decode`, whose result is kept in `base`/.snip-run until one of the files, their number or order, or the decoder is another.

    Runs that start together decode once. Where nothing can be kept, a warning says so.
    """
    key = fingerprint(base, paths, height, width)
    size = f"{height}x{width}"
    kept = base / FOLDER / f"{size}-{key[:16]}.pt"
    shape = (len(paths), 3, height, width)
    if (images := load(kept, key, shape)) is not None:
        return images
    try:
        kept.parent.mkdir(exist_ok=True)
        held = FileLock(kept.parent / f"{size}.lock").acquire()
    except OSError as error:
        warn(kept.parent, error)
        return decode(paths, height, width)
    with held:
        if (images := load(kept, key, shape)) is None:  # none came while this run waited for the lock
            log.info("decoding %s images in %s, this once", f"{len(paths):,}", base)
            images = decode(paths, height, width)
            store(kept, key, images, size)
    return images


def fingerprint(base: Path, paths: Sequence[Path], height: int, width: int) -> str:
    """A hash of all that decides what the decoder gives: the files' order, names below `base`, sizes and times; the size; the decoder."""
    made_of = hashlib.sha256(f"{VERSION} {PIL.__version__} {height} {width}".encode())
    for path in paths:
        status = path.stat()
        made_of.update(
            f"\0{os.path.relpath(path, base)}\0{status.st_size} {status.st_mtime_ns}".encode(errors="surrogateescape")
        )
    return made_of.hexdigest()


def load(kept: Path, key: str, shape: tuple[int, ...]) -> Tensor | None:
    """The images in the file `kept`, mapped into memory; None where it is not there, damaged, or not made of `key`."""
    try:
        content = torch.load(kept, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch raises nearly everything for a file that is none of its own, or half of one
        return None
    if not isinstance(content, dict) or content.get("key") != key or not isinstance(content.get("images"), Tensor):
        return None
    images = content["images"]
    if images.dtype != torch.uint8 or tuple(images.shape) != shape or content.get("digest") != digest(images):
        return None
    return images


def store(kept: Path, key: str, images: Tensor, size: str) -> None:
    """Write the file `kept` in place of earlier ones of the same size, or warn where that fails."""
    content = {"key": key, "digest": digest(images), "images": images}
    try:
        discard(kept.parent, f"{size}-*.pt")
        write_atomically(kept, lambda file: torch.save(content, file))
    except OSError as error:
        warn(kept.parent, error)
    discard(kept.parent, f".{size}-*.tmp")  # what a full disk or a killed run has left of a file


def discard(folder: Path, pattern: str) -> None:
    """Delete the files called so, where that is allowed."""
    for path in folder.glob(pattern):
        with suppress(OSError):
            path.unlink()


def digest(images: Tensor) -> str:
    return hashlib.sha256(images.numpy()).hexdigest()


def warn(folder: Path, error: OSError) -> None:
    log.warning(
        "the decoded images cannot be kept in %s (%s), so that every run decodes them anew: make room there or make it writable",
        folder,
        error.strerror,
    )
