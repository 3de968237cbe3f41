"""CIFAR-10, from a folder of images or from its authors' files, which torchvision downloads and reads."""

from pathlib import Path

import torch
from torch import Tensor

from snip_cli.data.cache import read_images
from snip_cli.data.download import check_md5, fetch_once
from snip_cli.data.folders import Listing, list_images
from snip_cli.data.resident import Raw
from snip_cli.errors import ConfigError
from snip_cli.registry import datasets

# In the order of the labels, which is alphabetical.
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SIZE = 32
COUNTS = {"train": 50_000, "test": 10_000}


@datasets.register("cifar10")
def cifar10(root: Path) -> Raw:
    """Return 50,000 training and 10,000 test images of ten classes, 3×32×32.

    They are read from `root`/cifar10/{train,test}/CLASS/*.png if that folder exists, else from
    `root`/cifar-10-batches-py. Raises ConfigError if the data set is missing and cannot be downloaded, or is incomplete
    or altered.
    """
    if (root / "cifar10" / "train").is_dir():
        return from_folders(root / "cifar10")
    return from_batches(root)


def from_folders(base: Path) -> Raw:
    """Return the images in `base`/{train,test}/CLASS."""
    train, test = (listed(base / split, count) for split, count in COUNTS.items())
    return read_images(base, train, test, height=SIZE, width=SIZE)


def listed(folder: Path, count: int) -> Listing:
    """Return the images of one split. Raises ConfigError unless there are `count` of the ten classes."""
    listing = list_images(folder)
    if listing.classes != CLASSES:
        raise ConfigError(
            f"{folder} holds the classes {', '.join(listing.classes)}, but CIFAR-10 has {', '.join(CLASSES)}: copy it again."
        )
    if len(listing.paths) != count:
        raise ConfigError(f"{folder} holds {len(listing.paths):,} images, but CIFAR-10 has {count:,}: copy it again.")
    return listing


def from_batches(root: Path) -> Raw:
    """Return the images in the authors' files. They are downloaded if one is missing, and every file is checked."""
    from torchvision.datasets import CIFAR10

    folder = root / CIFAR10.base_folder
    md5s = dict([*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])])

    def is_there() -> bool:
        return all((folder / name).is_file() for name in md5s)

    if not is_there():
        remedy = (
            f"put {CIFAR10.filename}, or its folder {CIFAR10.base_folder}, or the images as cifar10/train/CLASS/*.png and cifar10/test/CLASS/*.png there, "
            "or point dataset.root or $SNIP_DATA at the folder that holds them."
        )
        fetch_once(root, "CIFAR-10", lambda: CIFAR10(root, download=True), is_there, remedy)
    for name, md5 in md5s.items():
        check_md5(folder / name, md5)
    parts: list[Tensor] = []
    for split in (CIFAR10(root, train=True), CIFAR10(root, train=False)):
        images_NHWC = torch.from_numpy(split.data)  # a view of the order in the files, N×C×H×W
        parts += [images_NHWC.permute(0, 3, 1, 2), torch.tensor(split.targets)]
    return Raw(*parts)
