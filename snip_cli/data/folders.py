"""Lists the images in folders, one folder per class. Files are found by name and size and are not opened."""

import functools
import logging
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from snip_cli.errors import ConfigError

log = logging.getLogger("snip_cli")

# Formats that Pillow recognises but does not decode, or only with the help of other programs.
NOT_DECODED = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF")
# Suffixes that a warning names at most.
LISTED = 5


@dataclass(frozen=True)
class Listing:
    """The image files of a split, sorted by class and name, with labels (int64), and the class names by label."""

    paths: list[Path]
    labels: Tensor
    classes: list[str]


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the suffixes of the images that Pillow reads, in lower case."""
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, name in known.items() if name not in NOT_DECODED)


def list_images(folder: Path, classes: Sequence[str] | None = None, *, inside: str = "") -> Listing:
    """Return the images `folder`/CLASS/`inside`/*, labelled by the index of their class among the sorted class names.

    Hidden files, files without an image suffix, and deeper folders are passed over. A warning says how many files that
    are, hidden ones aside.

    Args:
        folder: the folder of a split.
        classes: the classes of the training images, if they are already known.
        inside: the subfolder of each class folder that holds the images.

    Raises:
        ConfigError: a missing folder, no class, a class without images, an empty file, or classes other than `classes`.
    """
    found = class_folders(folder)
    if classes is not None:
        require_same_classes(folder, found, list(classes))
    paths: list[Path] = []
    counts = []
    passed_over = Counter({"beside the class folders": sum(is_image(e) for e in entries(folder) if not e.is_dir())})
    for name in found:
        images, others = images_in(folder / name / inside)
        if not images:
            why = f" that can be read, but {described(others)}" if others else ""
            raise ConfigError(f"{folder / name / inside} holds no images{why}: put the images of this class there.")
        paths += images
        counts.append(len(images))
        passed_over += others
    if passed_over:
        number = passed_over.total()
        seen = f"{number:,} of {len(paths) + number:,} files in {folder}"
        log.warning("%s are passed over: %s", seen, described(passed_over))
    return Listing(paths, torch.arange(len(found)).repeat_interleave(torch.tensor(counts)), found)


def class_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in `folder`. Raises ConfigError if there are none."""
    names = sorted(entry.name for entry in entries(folder) if entry.is_dir())
    if not names:
        raise ConfigError(
            f"{folder} holds no class folders: put the images of each class into a folder {folder}/CLASS."
        )
    return names


def images_in(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the images in `folder`, sorted by name, and how many other files there are, by kind.

    Raises ConfigError if the folder is missing or an image is empty.
    """
    names = []
    others: Counter[str] = Counter()
    for entry in entries(folder):
        if entry.is_dir():
            others["in subfolders of a class"] += sum(len(files) for _, _, files in os.walk(entry.path))
            continue
        if not is_image(entry):
            others[suffix_of(entry) or "without a suffix"] += 1
            continue
        try:
            status = entry.stat()
        except OSError as error:
            raise ConfigError(f"{entry.path} cannot be read ({error.strerror}): repair or delete it.") from error
        if not stat.S_ISREG(status.st_mode):
            continue
        if status.st_size == 0:
            raise ConfigError(f"{entry.path} is empty (0 bytes): copy it again or delete it.")
        names.append(entry.name)
    return [folder / name for name in sorted(names)], +others


def suffix_of(entry: os.DirEntry[str]) -> str:
    stem, dot, suffix = entry.name.rpartition(".")
    return (dot + suffix).lower() if stem else ""


def is_image(entry: os.DirEntry[str]) -> bool:
    """Return whether a file is named like an image."""
    return suffix_of(entry) in suffixes()


def described(others: Counter[str]) -> str:
    """Describe files that are not read: how many of which kind, the most frequent first."""
    kinds = sorted(others.items(), key=lambda kind: (-kind[1], kind[0]))
    named = [f"{number:,} {kind}" for kind, number in kinds[:LISTED]]
    rest = sum(number for _, number in kinds[LISTED:])
    return ", ".join(named) + (f" and {rest:,} others" if rest else "")


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of `folder` that are not hidden. Raises ConfigError if the folder cannot be read."""
    try:
        with os.scandir(folder) as found:
            return [entry for entry in found if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"The folder {folder} does not exist: put the images there, or point dataset.root or $SNIP_DATA at the folder that holds them."
        ) from None
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read ({error.strerror}): make it readable.") from error


def require_same_classes(folder: Path, found: list[str], wanted: list[str]) -> None:
    """Raise ConfigError, which names the first difference, unless `found` and `wanted` hold the same names."""
    if different := sorted(set(found) ^ set(wanted)):
        name = different[0]
        has, have = ("has a", "do not have") if name in found else ("has no", "have")
        raise ConfigError(
            f"{folder} ({len(found):,} classes) {has} class folder '{name}', which the training images ({len(wanted):,} classes) {have}: "
            f"use the same class folders for both."
        )
