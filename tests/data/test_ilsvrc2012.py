import os
from pathlib import Path

import pytest
import torch

from snip_cli import registry
from snip_cli.errors import ConfigError
from tests.data.pictures import draw, draw_classes, one_sentence

WNIDS = ["n01440764", "n01443537", "n15075141"]


@pytest.fixture
def root(tmp_path):
    """Two training images and one validation image of each of three classes."""
    draw_classes(tmp_path / "imagenet" / "train", dict.fromkeys(reversed(WNIDS), 2), suffix=".JPEG")
    draw_classes(tmp_path / "imagenet" / "val", dict.fromkeys(WNIDS, 1), suffix=".JPEG")
    return tmp_path


def refusal(root):
    with pytest.raises(ConfigError) as error:
        registry.datasets["ilsvrc2012"](root)
    return one_sentence(error.value)


def test_files_are_listed_with_labels_by_sorted_wordnet_number(root):
    found = registry.datasets["ilsvrc2012"](root)
    base = root / "imagenet"
    assert found.train == [base / "train" / name / f"{number}.JPEG" for name in WNIDS for number in range(2)]
    assert found.test == [base / "val" / name / "0.JPEG" for name in WNIDS]
    assert (found.train_labels.tolist(), found.test_labels.tolist()) == ([0, 0, 1, 1, 2, 2], [0, 1, 2])
    assert found.train_labels.dtype == found.test_labels.dtype == torch.int64


def test_no_image_is_opened_while_listing(root):
    (root / "imagenet" / "train" / WNIDS[0] / "0.JPEG").write_bytes(b"no image")
    assert len(registry.datasets["ilsvrc2012"](root).train) == 6


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_missing_folder_is_reported_with_where_to_get_it(split, root):
    (root / "imagenet" / split).rename(root / "elsewhere")
    text = refusal(root)
    assert text.startswith(
        f"The folder {root / 'imagenet' / split} does not exist, and ImageNet cannot be downloaded by a program: "
    )
    for word in ("https://image-net.org", "train/WNID/*.JPEG", "val/WNID/*.JPEG", "dataset.root or $SNIP_DATA"):
        assert word in text


def test_validation_images_that_are_not_sorted_are_reported(root):
    (root / "imagenet" / "val").rename(root / "elsewhere")
    draw(root / "imagenet" / "val" / "ILSVRC2012_val_00000001.JPEG")
    text = refusal(root)
    assert text.startswith(f"{root / 'imagenet' / 'val'} holds images that are not sorted into classes: move it away, ")
    assert f"torchvision.datasets.ImageNet('{root / 'imagenet'}', 'val')" in text


def test_another_number_of_classes_is_reported(root):
    (root / "imagenet" / "val" / WNIDS[1]).rename(root / "elsewhere")
    text = refusal(root)
    assert f"(2 classes) has no class folder '{WNIDS[1]}', which the training images (3 classes) have: " in text


def test_an_empty_file_is_reported_by_name(root):
    path = root / "imagenet" / "val" / WNIDS[2] / "0.JPEG"
    path.write_bytes(b"")
    assert refusal(root).startswith(f"{path} is empty (0 bytes)")


def test_the_real_files_have_a_thousand_classes():
    root = Path(os.environ.get("SNIP_DATA", "data"))
    if not (root / "imagenet" / "train").is_dir():
        pytest.skip("$SNIP_DATA holds no ImageNet")
    found = registry.datasets["ilsvrc2012"](root)
    for paths, labels in ((found.train, found.train_labels), (found.test, found.test_labels)):
        assert labels.unique().tolist() == list(range(1000))
        assert (paths[0].parent.name, paths[-1].parent.name) == ("n01440764", "n15075141")
