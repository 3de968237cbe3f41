"""Tiny-ImageNet, from its authors' archive."""

import logging
import shutil
import zipfile
from pathlib import Path, PurePosixPath

import torch

from snip_cli.data.cache import read_images
from snip_cli.data.download import check_md5, fetch_once
from snip_cli.data.folders import Listing, images_in, list_images
from snip_cli.data.resident import Raw
from snip_cli.errors import ConfigError
from snip_cli.registry import datasets

NAME = "tiny-imagenet-200"
URL = f"http://cs231n.stanford.edu/{NAME}.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
SIZE = 64
COUNTS = (100_000, 10_000)

log = logging.getLogger("snip_cli")


@datasets.register("tiny_imagenet")
def tiny_imagenet(root: Path) -> Raw:
    """Return 100,000 training images of 200 classes and, for testing, the 10,000 of the official validation split,
    3×64×64.

    They are read from `root`/tiny-imagenet-200, which is unpacked from `root`/tiny-imagenet-200.zip or downloaded if it
    is missing. A label is the index of a WordNet number among the sorted ones. Raises ConfigError if the data set
    cannot be downloaded, or is incomplete or altered.
    """
    base = root / NAME
    if not base.is_dir():
        remedy = f"put {NAME}.zip or the folder {NAME} there, or point dataset.root or $SNIP_DATA at the folder that holds it."
        fetch_once(root, "Tiny-ImageNet", lambda: fetch(root), base.is_dir, remedy)
    train = list_images(base / "train", inside="images")
    test = list_validation(base / "val", train.classes)
    if (found := (len(train.paths), len(test.paths))) != COUNTS:
        raise ConfigError(
            f"{base} holds {found[0]:,} training and {found[1]:,} validation images instead of {COUNTS[0]:,} and {COUNTS[1]:,}: delete it and unpack {NAME}.zip again."
        )
    return read_images(base, train, test, height=SIZE, width=SIZE)


def list_validation(folder: Path, classes: list[str]) -> Listing:
    """Return the images in `folder`/images, labelled according to `folder`/val_annotations.txt.

    Raises ConfigError if that file is missing or names none of `classes` for an image.
    """
    annotations = folder / "val_annotations.txt"
    again = f"delete {folder.parent} and unpack {NAME}.zip again"
    try:
        lines = annotations.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{annotations} cannot be read ({error}): {again}.") from error
    class_of = {fields[0]: fields[1] for line in lines if len(fields := line.split("\t")) >= 2}
    label_of = {name: label for label, name in enumerate(classes)}
    paths, _ = images_in(folder / "images")
    for path in paths:
        if class_of.get(path.name) not in label_of:
            raise ConfigError(f"{annotations} names no training class for {path.name}: {again}.")
    return Listing(paths, torch.tensor([label_of[class_of[path.name]] for path in paths]), classes)


def fetch(root: Path) -> None:
    """Download the archive unless it exists, and unpack it."""
    from torchvision.datasets.utils import download_url

    archive = root / f"{NAME}.zip"
    if not archive.is_file():
        partial = f".{archive.name}.partial"
        download_url(URL, root, filename=partial, md5=MD5)
        (root / partial).replace(archive)
    check_md5(archive, MD5)
    unpack(archive, root / NAME)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the folder of the same name as `folder` from `archive`. Afterwards `folder` is complete or does not exist.

    Raises ConfigError if the archive is damaged, holds no such folder, or holds a path outside it.
    """
    log.info("unpacking %s", archive)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as content:
            for name in content.namelist():
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name.replace("\\", "/")).parts:
                    raise ConfigError(f"{archive} holds a path outside its folder, {name!r}: delete it and run again.")
            content.extractall(partial)
    except (zipfile.BadZipFile, EOFError) as error:
        raise ConfigError(f"{archive} is damaged ({error}): delete it and run again to download it.") from error
    if not (partial / folder.name).is_dir():
        raise ConfigError(f"{archive} holds no folder {folder.name}: delete it and run again to download it.")
    (partial / folder.name).rename(folder)
    shutil.rmtree(partial)
