from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from snip_cli import registry


@pytest.fixture(scope="module")
def raw():
    return registry.datasets["digits"](Path("a folder that is not there"))


def test_there_are_1497_training_and_300_test_images_of_28_by_28(raw):
    assert raw.train_images.shape == (1497, 1, 28, 28)
    assert raw.test_images.shape == (300, 1, 28, 28)
    assert raw.train_images.dtype == raw.test_images.dtype == torch.uint8


def test_labels_are_whole_numbers_and_every_class_is_in_both_parts(raw):
    for labels in (raw.train_labels, raw.test_labels):
        assert labels.dtype == torch.int64
        assert labels.unique().tolist() == list(range(10))


def test_every_sixth_image_is_for_testing(raw):
    labels = load_digits().target.tolist()
    assert raw.test_labels.tolist() == labels[::6]
    assert raw.train_labels.tolist() == [label for place, label in enumerate(labels) if place % 6]


def test_black_stays_black_and_white_becomes_255(raw):
    assert (int(raw.train_images.min()), int(raw.train_images.max())) == (0, 255)


def test_each_image_shrunk_again_looks_like_its_original(raw):
    originals = torch.from_numpy(load_digits().images[::6]).flatten(1)
    shrunk = F.interpolate(raw.test_images.double(), size=(8, 8), mode="area").flatten(1)
    correlations = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(originals, shrunk, strict=True)]
    assert min(correlations) > 0.94


def test_no_image_is_in_both_parts(raw):
    tests = {tuple(image.flatten().tolist()) for image in raw.test_images}
    assert not any(tuple(image.flatten().tolist()) in tests for image in raw.train_images)
