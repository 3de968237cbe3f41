import hashlib
import os
import pickle
import shutil
from pathlib import Path
from urllib.error import URLError

import numpy
import pytest
import torch
from torchvision.datasets import CIFAR10

from snip_cli import registry
from snip_cli.data import cifar10 as files
from snip_cli.data.resident import channel_statistics
from snip_cli.errors import ConfigError
from tests.data.pictures import as_tensor, draw_classes, one_sentence

# The names in the authors' batches.meta, in the order of the labels.
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Every download fails as it does without a network."""

    def fail(self):
        raise URLError("no network")

    monkeypatch.setattr(CIFAR10, "download", fail)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Twenty training and ten test images in folders, as a whole data set."""
    monkeypatch.setattr(files, "COUNTS", {"train": 20, "test": 10})
    draw_classes(tmp_path / "cifar10" / "train", dict.fromkeys(NAMES, 2), size=32)
    draw_classes(tmp_path / "cifar10" / "test", dict.fromkeys(NAMES, 1), size=32)
    return tmp_path / "cifar10"


def refusal(root):
    with pytest.raises(ConfigError) as error:
        registry.datasets["cifar10"](root)
    return one_sentence(error.value)


def test_images_in_folders_keep_every_bit_and_are_labelled_in_the_order_of_the_authors(folders):
    raw = registry.datasets["cifar10"](folders.parent)
    assert raw.train_labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert raw.test_labels.tolist() == list(range(10))
    expected = [as_tensor(1000 * label + number, 32, 32) for label in range(10) for number in range(2)]
    assert torch.equal(raw.train_images, torch.stack(expected))
    assert torch.equal(raw.test_images, raw.train_images[::2])


def test_folders_of_other_classes_are_refused(folders):
    (folders / "train" / "airplane").rename(folders / "train" / "aeroplane")
    text = refusal(folders.parent)
    assert text.startswith(f"{folders / 'train'} holds the classes aeroplane, automobile, ")
    assert text.endswith(
        ", but CIFAR-10 has airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck: copy it again."
    )


def test_an_image_that_is_missing_is_reported(folders):
    (folders / "test" / "dog" / "0.png").rename(folders / "dog.png")
    (folders / "test" / "dog" / "text.txt").write_text("")
    assert refusal(folders.parent).startswith(f"{folders / 'test' / 'dog'} holds no image")
    (folders / "train" / "dog" / "0.png").unlink()
    assert refusal(folders.parent) == f"{folders / 'train'} holds 19 images, but CIFAR-10 has 20: copy it again."


def test_a_missing_test_folder_is_reported(folders):
    (folders / "test").rename(folders / "elsewhere")
    assert refusal(folders.parent).startswith(f"The folder {folders / 'test'} does not exist")


def write_batches(folder, monkeypatch):
    """Write six batches of four images in the authors' format with their MD5s; return images and labels by name."""
    random = numpy.random.RandomState(0)
    folder.mkdir(parents=True)
    values, md5s = {}, {}
    contents = {"batches.meta": {"label_names": NAMES}}
    for name in BATCHES:
        images = random.randint(256, size=(4, 3072), dtype=numpy.uint8)
        contents[name] = {"data": images, "labels": random.randint(10, size=4).tolist()}
        values[name] = torch.from_numpy(images).view(4, 3, 32, 32), contents[name]["labels"]
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        md5s[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5s[name]] for name in BATCHES[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [[name, md5s[name]] for name in BATCHES[5:]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5s["batches.meta"]})
    return values


def assert_is(raw, values):
    assert torch.equal(raw.train_images, torch.cat([values[name][0] for name in BATCHES[:5]]))
    assert raw.train_labels.tolist() == [label for name in BATCHES[:5] for label in values[name][1]]
    assert torch.equal(raw.test_images, values["test_batch"][0])
    assert raw.test_labels.tolist() == values["test_batch"][1]
    assert raw.train_images.is_contiguous()
    assert (raw.train_images.dtype, raw.train_labels.dtype) == (torch.uint8, torch.int64)


def test_images_and_labels_are_those_of_the_authors_files(tmp_path, monkeypatch):
    values = write_batches(tmp_path / "cifar-10-batches-py", monkeypatch)
    assert_is(registry.datasets["cifar10"](tmp_path), values)


def test_what_is_missing_is_downloaded(tmp_path, monkeypatch):
    values = write_batches(tmp_path / "server", monkeypatch)
    monkeypatch.setattr(
        CIFAR10, "download", lambda self: shutil.copytree(tmp_path / "server", self.root / self.base_folder)
    )
    assert_is(registry.datasets["cifar10"](tmp_path / "data"), values)


@pytest.mark.parametrize("file", [*BATCHES, "batches.meta"])
def test_an_altered_file_is_refused_by_name_before_it_is_unpickled(file, tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    write_batches(folder, monkeypatch)
    (folder / file).write_bytes((folder / file).read_bytes()[:-1])
    text = refusal(tmp_path)
    assert text.startswith(f"{folder / file} is truncated or altered")
    assert "delete it and run again" in text


@pytest.mark.parametrize("file", [None, *BATCHES, "batches.meta"])
def test_missing_data_that_cannot_be_downloaded_is_reported(file, tmp_path, monkeypatch):
    if file is not None:
        write_batches(tmp_path / "cifar-10-batches-py", monkeypatch)
        (tmp_path / "cifar-10-batches-py" / file).unlink()
    text = refusal(tmp_path)
    assert text.startswith(f"CIFAR-10 is not in {tmp_path} and cannot be downloaded (URLError: ")
    for word in (
        "cifar-10-python.tar.gz",
        "cifar-10-batches-py",
        "cifar10/train/CLASS/*.png",
        "dataset.root or $SNIP_DATA",
    ):
        assert word in text


def test_the_real_images_are_all_there_with_the_well_known_statistics():
    root = Path(os.environ.get("SNIP_DATA", "data"))
    if not any((root / name).is_dir() for name in ("cifar10/train", "cifar-10-batches-py")):
        pytest.skip("$SNIP_DATA holds no CIFAR-10")
    raw = registry.datasets["cifar10"](root)
    assert raw.train_images.shape == (50_000, 3, 32, 32)
    assert raw.train_labels.bincount().tolist() == [5_000] * 10
    assert raw.test_labels.bincount().tolist() == [1_000] * 10
    mean, std = channel_statistics(raw.train_images)
    assert [round(float(value), 4) for value in (*mean, *std)] == [0.4914, 0.4822, 0.4465, 0.2470, 0.2435, 0.2616]
