import hashlib
import os
from pathlib import Path
from urllib.error import URLError

import numpy
import pytest
import torch
import torchvision

from snip_cli import registry
from snip_cli.data import mnist as files
from snip_cli.data.resident import channel_statistics
from snip_cli.errors import ConfigError

SETS = [("mnist", "MNIST", "MNIST_FILES"), ("fashion_mnist", "FashionMNIST", "FASHION_MNIST_FILES")]
both = pytest.mark.parametrize(("name", "folder", "table"), SETS, ids=["mnist", "fashion_mnist"])
COUNTS = {"train": 12, "t10k": 5}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Every download fails as it does without a network."""

    def fail(self):
        raise URLError("no network")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", fail)


def idx(values):
    """The bytes of an idx file of unsigned bytes: magic number, sizes, values."""
    header = numpy.array([0x800 + values.dim(), *values.shape], dtype=">i4")
    return header.tobytes() + values.numpy().tobytes()


def write_small_files(raw, monkeypatch, table):
    """Write four small files in MNIST's format, set their MD5s as the expected ones, and return their values by name."""
    generator = torch.Generator().manual_seed(0)
    values = {}
    for part, count in COUNTS.items():
        values[f"{part}-images-idx3-ubyte"] = torch.randint(256, (count, 28, 28), generator=generator).byte()
        values[f"{part}-labels-idx1-ubyte"] = torch.randint(10, (count,), generator=generator).byte()
    raw.mkdir(parents=True)
    for name, tensor in values.items():
        (raw / name).write_bytes(idx(tensor))
    monkeypatch.setattr(files, table, {name: hashlib.md5(idx(tensor)).hexdigest() for name, tensor in values.items()})
    return values


@both
def test_images_and_labels_are_those_of_the_files(name, folder, table, tmp_path, monkeypatch):
    values = write_small_files(tmp_path / folder / "raw", monkeypatch, table)
    raw = registry.datasets[name](tmp_path)
    assert torch.equal(raw.train_images, values["train-images-idx3-ubyte"][:, None])
    assert torch.equal(raw.test_images, values["t10k-images-idx3-ubyte"][:, None])
    assert torch.equal(raw.train_labels, values["train-labels-idx1-ubyte"].long())
    assert torch.equal(raw.test_labels, values["t10k-labels-idx1-ubyte"].long())


@both
@pytest.mark.parametrize("file", files.MNIST_FILES)
def test_a_truncated_file_is_refused_by_name(file, name, folder, table, tmp_path, monkeypatch):
    raw = tmp_path / folder / "raw"
    write_small_files(raw, monkeypatch, table)
    (raw / file).write_bytes((raw / file).read_bytes()[:-1])
    with pytest.raises(ConfigError) as refusal:
        registry.datasets[name](tmp_path)
    assert str(refusal.value).startswith(f"{raw / file} is truncated or altered")
    assert "delete it and run again" in str(refusal.value)


def test_an_altered_file_is_refused_though_its_length_is_right(tmp_path, monkeypatch):
    raw = tmp_path / "MNIST" / "raw"
    write_small_files(raw, monkeypatch, "MNIST_FILES")
    content = bytearray((raw / "t10k-labels-idx1-ubyte").read_bytes())
    content[-1] ^= 1
    (raw / "t10k-labels-idx1-ubyte").write_bytes(content)
    with pytest.raises(ConfigError, match="t10k-labels-idx1-ubyte is truncated or altered"):
        registry.datasets["mnist"](tmp_path)


def assert_tells_where_it_looked_and_what_to_do(error, raw):
    assert str(error).startswith(f"{raw.parent.name} is not in {raw.parent.parent} and cannot be downloaded")
    assert f" into {raw}, " in str(error)
    assert "put train-images-idx3-ubyte, " in str(error)
    assert "\n" not in str(error)
    assert "dataset.root or $SNIP_DATA" in str(error)


@both
def test_missing_data_that_cannot_be_downloaded_is_reported(name, folder, table, tmp_path):
    with pytest.raises(ConfigError) as refusal:
        registry.datasets[name](tmp_path / "nowhere")
    assert_tells_where_it_looked_and_what_to_do(refusal.value, tmp_path / "nowhere" / folder / "raw")


@pytest.mark.parametrize("file", files.MNIST_FILES)
def test_one_missing_file_is_enough(file, tmp_path, monkeypatch):
    raw = tmp_path / "MNIST" / "raw"
    write_small_files(raw, monkeypatch, "MNIST_FILES")
    (raw / file).unlink()
    with pytest.raises(ConfigError) as refusal:
        registry.datasets["mnist"](tmp_path)
    assert_tells_where_it_looked_and_what_to_do(refusal.value, raw)


def test_a_download_that_leaves_the_files_out_is_reported(tmp_path):
    """If converted files of older torchvision releases exist, torchvision downloads nothing."""
    processed = tmp_path / "MNIST" / "processed"
    processed.mkdir(parents=True)
    for file in ("training.pt", "test.pt"):
        torch.save((torch.zeros(3, 28, 28, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)), processed / file)
    with pytest.raises(ConfigError, match="MNIST is not in"):
        registry.datasets["mnist"](tmp_path)


def test_a_root_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "root").write_text("")
    with pytest.raises(ConfigError, match="MNIST is not in"):
        registry.datasets["mnist"](tmp_path / "root")


def test_the_statistics_of_the_real_images_are_the_well_known_ones():
    root = Path(os.environ.get("SNIP_DATA", "data"))
    if not (root / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        pytest.skip("$SNIP_DATA holds no MNIST")
    raw = registry.datasets["mnist"](root)
    assert (len(raw.train_labels), len(raw.test_labels)) == (60_000, 10_000)
    mean, std = channel_statistics(raw.train_images)
    assert (round(float(mean), 4), round(float(std), 4)) == (0.1307, 0.3081)
