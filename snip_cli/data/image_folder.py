"""A user's own images: one folder per class, for training and for testing."""

from pathlib import Path

from snip_cli.data.cache import read_images
from snip_cli.data.folders import list_images
from snip_cli.data.resident import Raw
from snip_cli.errors import ConfigError
from snip_cli.registry import datasets


@datasets.register("image_folder")
def image_folder(root: Path, *, folder: str, size: int) -> Raw:
    """Return the training images `root`/`folder`/train/CLASS/* and the test images test/CLASS/* (val/CLASS/* if there
    is no folder test).

    They are 3×`size`×`size`. A label is the index of a class among the sorted names. Raises ConfigError if a folder is
    missing or unusable.
    """
    if size < 1:
        raise ConfigError(f"dataset.size, the height and width in pixels, must be at least 1: got {size}.")
    base = root / Path(folder).expanduser()
    if not (base / "train").is_dir():
        raise ConfigError(
            f"The folder {base / 'train'} does not exist: put the images there as train/CLASS/*, or set dataset.folder or dataset.root."
        )
    train = list_images(base / "train")
    test_folder = base / "val" if (base / "val").is_dir() and not (base / "test").is_dir() else base / "test"
    return read_images(base, train, list_images(test_folder, train.classes), height=size, width=size)
