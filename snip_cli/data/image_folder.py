"""A user's own images: a folder with one folder per class for training and for testing."""

from pathlib import Path

from snip_cli.data.cache import read_images
from snip_cli.data.folders import list_images
from snip_cli.data.resident import Raw
from snip_cli.errors import ConfigError
from snip_cli.registry import datasets


@datasets.register("image_folder")
def image_folder(root: Path, *, folder: str, size: int) -> Raw:
    """The images `root`/`folder`/train/CLASS/* and, for testing, test/CLASS/* or where there is no test folder val/CLASS/*, 3×`size`×`size`.

    Labels are places among the sorted class names. Raises ConfigError where a folder is missing or holds what cannot be used.
    """
    if size < 1:
        raise ConfigError(f"dataset.size, the height and width in pixels, must be at least 1, not {size}.")
    base = root / folder
    if not (base / "train").is_dir():
        raise ConfigError(
            f"There is no folder {base / 'train'}: put the images there, as train/CLASS/*, or set dataset.folder or dataset.root."
        )
    train = list_images(base / "train")
    test_folder = base / "val" if (base / "val").is_dir() and not (base / "test").is_dir() else base / "test"
    return read_images(base, train, list_images(test_folder, train.classes), height=size, width=size)
