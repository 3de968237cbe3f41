"""MNIST and Fashion-MNIST, downloaded and read by torchvision. Every file is checked."""

from pathlib import Path

from snip_cli.data.download import check_md5, fetch_once
from snip_cli.data.resident import Raw
from snip_cli.registry import datasets

# The MD5 of each unpacked file.
MNIST_FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
FASHION_MNIST_FILES = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}


@datasets.register("mnist")
def mnist(root: Path) -> Raw:
    """Return 60,000 training and 10,000 test images of handwritten digits, 1×28×28, from `root`/MNIST/raw."""
    return read_or_download("MNIST", MNIST_FILES, root)


@datasets.register("fashion_mnist")
def fashion_mnist(root: Path) -> Raw:
    """Return 60,000 training and 10,000 test images of clothes, 1×28×28, from `root`/FashionMNIST/raw."""
    return read_or_download("FashionMNIST", FASHION_MNIST_FILES, root)


def read_or_download(name: str, files: dict[str, str], root: Path) -> Raw:
    """Return the images in the four files of torchvision's data set `name`, downloaded if one is missing.

    Raises ConfigError if a file is missing and cannot be downloaded, or is truncated or altered.
    """
    from torchvision.datasets.mnist import read_image_file, read_label_file

    folder = root / name / "raw"
    paths = {file: folder / file for file in files}

    def is_there() -> bool:
        return all(path.is_file() for path in paths.values())

    if not is_there():
        remedy = f"put {', '.join(files)} into {folder}, or point dataset.root or $SNIP_DATA at the folder that holds {name}/raw."
        fetch_once(root, name, lambda: download(name, root), is_there, remedy)
    for file, path in paths.items():
        check_md5(path, files[file])
    train_images, train_labels, test_images, test_labels = (str(path) for path in paths.values())
    return Raw(
        read_image_file(train_images)[:, None],
        read_label_file(train_labels),
        read_image_file(test_images)[:, None],
        read_label_file(test_labels),
    )


def download(name: str, root: Path) -> None:
    """Let torchvision download or unpack the files of its data set `name`."""
    import torchvision

    getattr(torchvision.datasets, name)(root, train=True, download=True)
