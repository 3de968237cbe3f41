"""ImageNet's classification data of 2012.

Its authors give it only to those who have agreed to their terms, so it is not downloaded.
"""

from pathlib import Path

from snip_cli.data.folders import list_images
from snip_cli.data.streamed import Files
from snip_cli.errors import ConfigError
from snip_cli.registry import datasets

# Of the training images, rounded as is usual; torchvision's pretrained weights expect these values.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@datasets.register("ilsvrc2012")
def ilsvrc2012(root: Path) -> Files:
    """Return the training files `root`/imagenet/train/WNID/*.JPEG and the test files `root`/imagenet/val/WNID/*.JPEG.

    A label is the index of a WordNet number among the sorted ones, as in torchvision. Raises ConfigError if a folder is
    missing or unusable.
    """
    base = root / "imagenet"
    for split in ("train", "val"):
        if not (base / split).is_dir():
            raise ConfigError(
                f"The folder {base / split} does not exist, and ImageNet cannot be downloaded by a program: get it from https://image-net.org/download-images "
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
