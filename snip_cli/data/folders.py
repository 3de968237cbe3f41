"""Images that lie in one folder per class: found by name and size, not opened."""

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
    """The image files of a split in the order of classes and names, an int64 label for each, and the names that the labels stand for."""

    paths: list[Path]
    labels: Tensor
    classes: list[str]


def list_images(folder: Path, classes: Sequence[str] | None = None, *, inside: str = "") -> Listing:
    """The images `folder`/CLASS/`inside`/*, labelled by the place of their class among the sorted names.

    Hidden files and files without an image's suffix are passed over, and so are folders below those of the classes. Raises ConfigError
    where there is no folder, no class, a class without images or an empty file, and where `classes`, those of the training images, are
    given and not the ones found.
    """
    found = class_folders(folder)
    if classes is not None:
        require_same_classes(folder, found, list(classes))
    paths: list[Path] = []
    counts = []
    for name in found:
        images = images_in(folder / name / inside)
        if not images:
            raise ConfigError(f"{folder / name / inside} holds no image: put the images of this class there.")
        paths += images
        counts.append(len(images))
    return Listing(paths, torch.arange(len(found)).repeat_interleave(torch.tensor(counts)), found)


def class_folders(folder: Path) -> list[str]:
    """The sorted names of the folders in `folder`; raises ConfigError where there is none."""
    names = sorted(entry.name for entry in entries(folder) if entry.is_dir())
    if not names:
        raise ConfigError(f"{folder} holds no class folder: put the images of each class into one, as {folder}/CLASS.")
    return names


def images_in(folder: Path) -> list[Path]:
    """The images in `folder`, sorted by name; raises ConfigError where it is not there or one of them is empty."""
    names = []
    for entry in entries(folder):
        if not entry.name.lower().endswith(SUFFIXES):
            continue
        try:
            status = entry.stat()
        except OSError as error:
            raise ConfigError(f"{entry.path} cannot be read ({error.strerror}): mend or delete it.") from error
        if not stat.S_ISREG(status.st_mode):
            continue
        if status.st_size == 0:
            raise ConfigError(f"{entry.path} is empty (0 bytes): copy it again or delete it.")
        names.append(entry.name)
    return [folder / name for name in sorted(names)]


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in `folder` and is not hidden; raises ConfigError where the folder cannot be read."""
    try:
        with os.scandir(folder) as found:
            return [entry for entry in found if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"There is no folder {folder}: put the images there, or point dataset.root or $SNIP_DATA at the folder that holds them."
        ) from None
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read ({error.strerror}): make it readable.") from error


def require_same_classes(folder: Path, found: list[str], wanted: list[str]) -> None:
    """Raise ConfigError, naming the first difference, unless the two hold the same names."""
    if different := sorted(set(found) ^ set(wanted)):
        name = different[0]
        have, lack = ("has the", "have not") if name in found else ("has no", "have")
        raise ConfigError(
            f"{folder} ({len(found):,} classes) {have} class folder '{name}', which the training images ({len(wanted):,} classes) {lack}: "
            f"make both have the same class folders."
        )
