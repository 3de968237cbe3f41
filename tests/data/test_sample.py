"""A class-balanced sample of training images."""

import pytest
import torch

from snip_cli.data.sample import class_balanced_rows, class_balanced_sample
from snip_cli.errors import ConfigError
from tests.splits import split_of

LABELS = torch.tensor([2, 0, 1, 1, 0, 2, 2, 0, 1, 0])


def drawn(samples, seed=0, labels=LABELS, classes=3):
    return class_balanced_rows(labels, samples, classes, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_every_class_gives_as_many_different_rows(samples):
    rows = drawn(samples)
    assert len(set(rows.tolist())) == 3 * samples
    assert LABELS[rows].bincount().tolist() == [samples] * 3


def test_the_rows_are_the_generators():
    assert torch.equal(drawn(2, seed=1), drawn(2, seed=1))
    assert len({tuple(drawn(2, seed=seed).tolist()) for seed in range(20)}) > 10


def test_every_row_of_a_class_can_be_drawn():
    assert {int(row) for seed in range(50) for row in drawn(1, seed)} == set(range(10))


def test_classes_are_mixed():
    labels = torch.arange(3).repeat_interleave(100)
    found = labels[drawn(100, labels=labels)]
    assert len(found[:100].unique()) == 3


def test_a_class_with_fewer_images_than_asked_for_is_named():
    with pytest.raises(
        ConfigError,
        match=r"^method\.samples_per_class=4 is too large: class 1 has only 3 training images\. Lower it\.$",
    ):
        drawn(4)


def test_a_class_without_an_image_is_named():
    with pytest.raises(ConfigError, match="Class 3 of 4 has no training image"):
        drawn(1, classes=4)


def test_the_sample_gives_its_batches_again_each_time_it_is_gone_through():
    images = torch.arange(10.0)[:, None, None, None].expand(10, 1, 2, 2).clone()
    sample = class_balanced_sample(split_of(images, LABELS), 3, batch_size=4, classes=3, seed=0)
    first, second = list(sample), list(sample)
    assert [len(labels) for _, labels in first] == [4, 4, 1]
    assert len(sample) == 3
    for (images_a, labels_a), (images_b, labels_b) in zip(first, second, strict=True):
        assert torch.equal(images_a, images_b)
        assert torch.equal(labels_a, labels_b)
        assert torch.equal(LABELS[images_a[:, 0, 0, 0].long()], labels_a)


def test_the_sample_is_the_seeds():
    def rows(seed):
        return class_balanced_sample(split_of(torch.zeros(10, 1, 2, 2), LABELS), 2, 4, 3, seed).rows.tolist()

    assert rows(0) == rows(0)
    assert len({tuple(rows(seed)) for seed in range(5)}) > 1
