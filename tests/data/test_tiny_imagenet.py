import hashlib
import shutil
import zipfile
from urllib.error import URLError

import pytest
import torch
import torchvision
from PIL import Image

from snip_cli import registry
from snip_cli.data import tiny_imagenet as files
from snip_cli.errors import ConfigError
from tests.data.pictures import as_tensor, draw, draw_classes, one_sentence

NAME = "tiny-imagenet-200"
WNIDS = ["n01443537", "n01629819", "n02509815"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Every download fails as it does without a network."""

    def fail(*arguments, **options):
        raise URLError("no network")

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", fail)


@pytest.fixture
def base(tmp_path, monkeypatch):
    """Six training and two validation images, laid out as in the official archive."""
    monkeypatch.setattr(files, "COUNTS", (6, 2))
    base = tmp_path / "data" / NAME
    draw_classes(base / "train", dict.fromkeys(WNIDS, 2), inside="images", suffix=".bmp", size=64)
    for name in WNIDS:
        (base / "train" / name / f"{name}_boxes.txt").write_text("n01443537_0.JPEG\t0\t10\t63\t58\n")
    draw(base / "val" / "images" / "val_0.bmp", 3000, 64, 64)
    draw(base / "val" / "images" / "val_1.bmp", 3001, 64, 64)
    annotations = f"val_1.bmp\t{WNIDS[0]}\t0\t32\t44\t62\nval_0.bmp\t{WNIDS[2]}\t52\t55\t57\t59\n"
    (base / "val" / "val_annotations.txt").write_text(annotations)
    return base


def read(root):
    return registry.datasets["tiny_imagenet"](root)


def refusal(root):
    with pytest.raises(ConfigError) as error:
        read(root)
    return one_sentence(error.value)


def assert_is_whole(raw):
    numbers = [0, 1, 1000, 1001, 2000, 2001]
    assert torch.equal(raw.train_images, torch.stack([as_tensor(number, 64, 64) for number in numbers]))
    assert raw.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(raw.test_images, torch.stack([as_tensor(number, 64, 64) for number in (3000, 3001)]))
    assert raw.test_labels.tolist() == [2, 0]
    assert raw.train_labels.dtype == raw.test_labels.dtype == torch.int64


def archive(base, monkeypatch, **more):
    """Replace the data set by an archive of it with more files, and return the archive's path."""
    path = base.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as file:
        for image in sorted(base.rglob("*")):
            file.write(image, image.relative_to(base.parent))
        for name, content in more.items():
            file.writestr(name, content)
    shutil.rmtree(base)
    monkeypatch.setattr(files, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    return path


def test_images_and_labels_are_those_of_the_folder(base):
    assert_is_whole(read(base.parent))


def test_a_grey_image_gets_three_equal_channels(base):
    Image.new("L", (64, 64), 77).save(base / "val" / "images" / "val_0.bmp")
    assert read(base.parent).test_images[0].unique().tolist() == [77]


def test_an_archive_alone_is_unpacked_once_and_left_in_place(base, monkeypatch):
    path = archive(base, monkeypatch)
    assert_is_whole(read(base.parent))
    monkeypatch.setattr(files, "unpack", None)
    assert_is_whole(read(base.parent))
    assert path.is_file()
    assert not list(base.parent.glob(".*.partial"))


def test_what_is_missing_is_downloaded(base, monkeypatch):
    elsewhere = shutil.move(archive(base, monkeypatch), base.parent.parent / "server.zip")

    def download(url, root, filename, md5):
        assert (url, md5) == ("http://cs231n.stanford.edu/tiny-imagenet-200.zip", files.MD5)
        shutil.copy(elsewhere, root / filename)

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", download)
    assert_is_whole(read(base.parent / "new"))


def test_an_unpacking_that_was_stopped_is_begun_anew(base, monkeypatch):
    archive(base, monkeypatch)
    left = base.with_name(f".{NAME}.partial") / NAME / "train" / "n0" / "images"
    left.mkdir(parents=True)
    (left / "half.JPEG").write_bytes(b"half")
    assert_is_whole(read(base.parent))


def test_an_unpacking_that_fails_leaves_no_half_of_it(base, monkeypatch):
    archive(base, monkeypatch)

    def full(self, folder):
        (folder / NAME).mkdir(parents=True)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(zipfile.ZipFile, "extractall", full)
        assert "No space left on device" in refusal(base.parent)
    assert not base.exists()
    assert_is_whole(read(base.parent))


@pytest.mark.parametrize("name", ["../evil.txt", f"{NAME}/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt"])
def test_an_archive_that_would_write_elsewhere_is_refused(name, base, monkeypatch):
    path = archive(base, monkeypatch, **{name: "evil"})
    text = refusal(base.parent)
    assert text.startswith(f"{path} holds a path outside its folder, ")
    assert not list(base.parent.parent.rglob("evil*"))
    assert not base.exists()


def test_a_truncated_archive_is_refused_by_name(base, monkeypatch):
    path = archive(base, monkeypatch)
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(base.parent).startswith(f"{path} is truncated or altered (MD5 ")


def test_what_is_no_archive_is_refused_by_name(base, monkeypatch):
    path = archive(base, monkeypatch)
    path.write_bytes(b"<html>moved</html>")
    monkeypatch.setattr(files, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    assert refusal(base.parent).startswith(f"{path} is damaged (")


def test_an_archive_of_something_else_is_refused(base, monkeypatch):
    shutil.rmtree(base)
    draw(base.parent / "tiny-imagenet-200" / "a.png")
    base.rename(base.with_name("other"))
    with zipfile.ZipFile(base.with_suffix(".zip"), "w") as file:
        file.writestr("other/a.txt", "a")
    monkeypatch.setattr(files, "MD5", hashlib.md5(base.with_suffix(".zip").read_bytes()).hexdigest())
    assert "holds no folder tiny-imagenet-200: " in refusal(base.parent)


def test_missing_data_that_cannot_be_downloaded_is_reported(tmp_path):
    text = refusal(tmp_path / "nowhere")
    assert text.startswith(f"Tiny-ImageNet is not in {tmp_path / 'nowhere'} and cannot be downloaded (URLError: ")
    assert "): put tiny-imagenet-200.zip or the folder tiny-imagenet-200 there, " in text


def test_a_missing_image_is_reported(base):
    (base / "train" / WNIDS[1] / "images" / "1.bmp").unlink()
    assert refusal(base.parent) == (
        f"{base} holds 5 training and 2 validation images instead of 6 and 2: delete it and unpack tiny-imagenet-200.zip again."
    )


def test_missing_annotations_are_reported(base):
    (base / "val" / "val_annotations.txt").unlink()
    text = refusal(base.parent)
    assert text.startswith(f"{base / 'val' / 'val_annotations.txt'} cannot be read (")
    assert text.endswith(f"delete {base} and unpack tiny-imagenet-200.zip again.")


@pytest.mark.parametrize("line", ["", f"val_0.bmp {WNIDS[0]}", "val_0.bmp\tn99999999\t1\t2\t3\t4", "val_0.bmp"])
def test_an_image_whose_class_is_missing_is_refused_by_name(line, base):
    annotations = base / "val" / "val_annotations.txt"
    annotations.write_text(f"val_1.bmp\t{WNIDS[0]}\t0\t0\t1\t1\n{line}\n")
    assert refusal(base.parent).startswith(f"{annotations} names no training class for val_0.bmp: ")
