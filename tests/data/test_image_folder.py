import pytest
import torch
from omegaconf import OmegaConf

from snip_cli import registry
from snip_cli.config.composition import composer
from snip_cli.errors import ConfigError
from tests.data.pictures import as_tensor, draw_classes, one_sentence


@pytest.fixture
def root(tmp_path):
    """A data set called mine: three training and two test images of two classes."""
    draw_classes(tmp_path / "mine" / "train", {"ant": 2, "bee": 1})
    draw_classes(tmp_path / "mine" / "test", {"ant": 1, "bee": 1})
    return tmp_path


def read(root, folder="mine", size=8):
    return registry.datasets["image_folder"](root, folder=folder, size=size)


def refusal(*arguments, **options):
    with pytest.raises(ConfigError) as error:
        read(*arguments, **options)
    return one_sentence(error.value)


def test_images_and_labels_are_those_of_the_folders(root):
    raw = read(root)
    assert torch.equal(raw.train_images, torch.stack([as_tensor(number) for number in (0, 1, 1000)]))
    assert torch.equal(raw.test_images, torch.stack([as_tensor(number) for number in (0, 1000)]))
    assert (raw.train_labels.tolist(), raw.test_labels.tolist()) == ([0, 0, 1], [0, 1])


def test_images_are_brought_to_the_size_asked_for(root):
    assert read(root, size=5).train_images.shape == (3, 3, 5, 5)


def test_val_is_for_testing_where_there_is_no_test(root):
    draw_classes(root / "mine" / "val", {"ant": 3, "bee": 4})
    assert len(read(root).test_labels) == 2
    (root / "mine" / "test").rename(root / "elsewhere")
    assert len(read(root).test_labels) == 7


def test_two_folders_below_one_root_do_not_disturb_each_other(root):
    draw_classes(root / "deep" / "other" / "train", {"cow": 2})
    draw_classes(root / "deep" / "other" / "test", {"cow": 1})
    for _ in range(2):
        assert len(read(root).train_labels) == 3
        assert len(read(root, folder="deep/other").train_labels) == 2


def test_a_folder_that_is_not_there_is_reported(root):
    assert refusal(root, folder="yours").startswith(f"The folder {root / 'yours' / 'train'} does not exist: ")


def test_a_missing_test_folder_is_reported(root):
    (root / "mine" / "test").rename(root / "elsewhere")
    assert refusal(root).startswith(f"The folder {root / 'mine' / 'test'} does not exist: ")


def test_a_class_that_is_not_tested_is_reported(root):
    (root / "mine" / "test" / "bee").rename(root / "bee")
    assert "has no class folder 'bee', which the training images (2 classes) have: " in refusal(root)


def test_a_size_below_one_is_reported(root):
    with pytest.raises(
        ConfigError, match=r"^dataset\.size, the height and width in pixels, must be at least 1: got 0\.$"
    ):
        read(root, size=0)


def test_the_shape_follows_from_the_size_and_the_number_of_classes_must_be_given():
    with composer(None) as compose:
        dataset = compose.compose(["dataset=image_folder", "dataset.size=48", "dataset.folder=mine"]).dataset
    assert dataset.shape == [3, 48, 48]
    assert OmegaConf.missing_keys(dataset) == {"dataset.classes"}
