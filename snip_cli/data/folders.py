"""Lists the images in folders, one folder per class. Files are found by name and size and are not opened."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from snip_cli.errors import ConfigError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True)
class Listing:
    """The image files of a split, sorted by class and name, with labels (int64), and the class names by label."""

    paths: list[Path]
    labels: Tensor
    classes: list[str]


def list_images(folder: Path, classes: Sequence[str] | None = None, *, inside: str = "") -> Listing:
    """Return the images `folder`/CLASS/`inside`/*, labelled by the index of their class among the sorted class names.

    Hidden files, files without an image suffix, and deeper folders are ignored.

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
    for name in found:
        images = images_in(folder / name / inside)
        if not images:
            raise ConfigError(f"{folder / name / inside} holds no images: put the images of this class there.")
        paths += images
        counts.append(len(images))
    return Listing(paths, torch.arange(len(found)).repeat_interleave(torch.tensor(counts)), found)


def class_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in `folder`. Raises ConfigError if there are none."""
    names = sorted(entry.name for entry in entries(folder) if entry.is_dir())
    if not names:
        raise ConfigError(
            f"{folder} holds no class folders: put the images of each class into a folder {folder}/CLASS."
        )
    return names


def images_in(folder: Path) -> list[Path]:
    """Return the images in `folder`, sorted by name.

    Raises ConfigError if the folder is missing or an image is empty.
    """
    names = []
    for entry in entries(folder):
        if not entry.name.lower().endswith(SUFFIXES):
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
    return [folder / name for name in sorted(names)]


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
