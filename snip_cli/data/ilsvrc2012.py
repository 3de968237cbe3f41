"""ImageNet's classification data of 2012, which its authors give only to those who have agreed to their terms."""

from pathlib import Path

from snip_cli.data.files import Files
from snip_cli.data.folders import list_images
from snip_cli.errors import ConfigError
from snip_cli.registry import datasets

# Of the training images, as everybody rounds them; torchvision's pretrained weights expect these.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@datasets.register("ilsvrc2012")
def ilsvrc2012(root: Path) -> Files:
    """The files `root`/imagenet/train/WNID/*.JPEG and, for testing, `root`/imagenet/val/WNID/*.JPEG: listed, not opened.

    Labels are places among the sorted WordNet numbers, as in torchvision. Raises ConfigError where a folder is missing or holds what
    cannot be used.
    """
    base = root / "imagenet"
    for split in ("train", "val"):
        if not (base / split).is_dir():
            raise ConfigError(
                f"There is no folder {base / split}, and a program cannot download ImageNet: get it from https://image-net.org/download-images "
                f"and put it there as train/WNID/*.JPEG and val/WNID/*.JPEG, or point dataset.root or $SNIP_DATA at the folder that holds imagenet."
            )
    if any((base / "val").glob("ILSVRC2012_val_*.JPEG")):
        raise ConfigError(
            f"{base / 'val'} holds images that are not sorted into classes: move it away, put ILSVRC2012_img_val.tar and "
            f"ILSVRC2012_devkit_t12.tar.gz into {base}, and run torchvision.datasets.ImageNet('{base}', 'val'), which sorts them."
        )
    train = list_images(base / "train")
    test = list_images(base / "val", train.classes)
    return Files(train.paths, train.labels, test.paths, test.labels, MEAN, STD)
