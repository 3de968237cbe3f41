import itertools

import numpy
import pytest
import torch

from snip_cli.data.resident import (
    Raw,
    Split,
    batch_indices,
    channel_statistics,
    resident,
    saliency_batches,
    training_batches,
)
from snip_cli.errors import ConfigError

CPU = torch.device("cpu")


def random_images(count, seed):
    return torch.randint(256, (count, 2, 3, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.fixture
def raw():
    """A hundred training and ten test images whose labels are their numbers."""
    return Raw(random_images(100, 0), torch.arange(100), random_images(10, 1), torch.arange(10))


@pytest.fixture
def split():
    """Forty images that hold nothing but their number, which is also their label."""
    numbers = torch.arange(40)
    return Split(numbers.double()[:, None, None, None].expand(-1, 1, 2, 2), numbers)


def split_labels(data):
    return {name: getattr(data, name).labels.tolist() for name in ("train", "validation", "test")}


def first_batches(number, **place):
    """The rows of the first `number` batches that `batch_indices` gives."""
    return [rows.tolist() for rows in itertools.islice(batch_indices(**place), number)]


def test_a_tenth_of_the_training_images_validates(raw):
    labels = split_labels(resident(raw, split_seed=9, device=CPU, dtype=torch.float32))
    assert (len(labels["train"]), len(labels["validation"])) == (90, 10)
    assert sorted(labels["train"] + labels["validation"]) == list(range(100))
    assert labels["test"] == list(range(10))


def test_the_split_depends_on_its_seed_alone(raw):
    first = split_labels(resident(raw, split_seed=9, device=CPU, dtype=torch.float32))
    torch.manual_seed(1)
    numpy.random.seed(1)
    assert split_labels(resident(raw, split_seed=9, device=CPU, dtype=torch.float64)) == first
    assert split_labels(resident(raw, split_seed=8, device=CPU, dtype=torch.float32)) != first


def test_images_are_normalised_by_the_statistics_of_all_training_images_per_channel(raw):
    data = resident(raw, split_seed=9, device=CPU, dtype=torch.float64)
    pixels = raw.train_images.numpy() / 255
    for images, split in (
        (raw.train_images, data.train),
        (raw.train_images, data.validation),
        (raw.test_images, data.test),
    ):
        for channel in range(2):
            mean, std = pixels[:, channel].mean(), pixels[:, channel].std()
            expected = (images[split.labels, channel].double() / 255 - mean) / std
            torch.testing.assert_close(split.images[:, channel], expected, rtol=0, atol=1e-13)


def test_single_precision_is_double_precision_rounded_once(raw):
    single = resident(raw, split_seed=9, device=CPU, dtype=torch.float32)
    double = resident(raw, split_seed=9, device=CPU, dtype=torch.float64)
    assert torch.equal(single.train.images, double.train.images.float())


def test_statistics_are_those_of_the_pixels_scaled_to_one():
    images = random_images(50, 2)
    mean, std = channel_statistics(images)
    pixels = images.numpy() / 255
    assert mean.tolist() == pytest.approx(pixels.mean(axis=(0, 2, 3)), rel=1e-13)
    assert std.tolist() == pytest.approx(pixels.std(axis=(0, 2, 3)), rel=1e-13)


def test_a_channel_without_contrast_becomes_zero_rather_than_nan():
    images = torch.full((20, 1, 2, 2), 77, dtype=torch.uint8)
    labels = torch.zeros(20, dtype=torch.int64)
    data = resident(Raw(images, labels, images, labels), split_seed=9, device=CPU, dtype=torch.float64)
    assert data.train.images.abs().max() < 1e-6


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (10, 5), (10, 10), (7, 3), (3, 8)])
def test_every_epoch_visits_every_row_once_in_an_order_of_its_own(count, batch_size):
    epochs = 6
    batches = first_batches(epochs * count // batch_size + 1, count=count, batch_size=batch_size, seed=0)
    rows = [row for batch in batches for row in batch]
    orders = [tuple(rows[epoch * count : (epoch + 1) * count]) for epoch in range(epochs)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    assert len(set(orders)) > 1


@pytest.mark.parametrize("batch_size", [3, 4, 8, 25])
def test_batches_are_full_and_go_on_across_the_end_of_an_epoch(batch_size):
    batches = first_batches(20, count=10, batch_size=batch_size, seed=0)
    assert [len(rows) for rows in batches] == [batch_size] * 20


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (10, 5), (10, 10), (7, 3), (3, 8)])
def test_starting_at_an_iteration_gives_the_tail_of_starting_at_zero(count, batch_size):
    place = {"count": count, "batch_size": batch_size, "seed": 2}
    for start in range(12):
        assert first_batches(5, start=start, **place) == first_batches(start + 5, **place)[start:]


def test_the_order_depends_on_the_seed_alone():
    place = {"count": 30, "batch_size": 7}
    torch.manual_seed(0)
    first = first_batches(9, seed=0, **place)
    torch.manual_seed(1)
    assert first_batches(9, seed=0, **place) == first
    assert first_batches(9, seed=1, **place) != first


def test_a_training_batch_is_the_images_and_labels_of_its_rows(split):
    batches = itertools.islice(training_batches(split, 7, 3, 4), 9)
    for (images, labels), rows in zip(batches, batch_indices(40, 7, 3, 4), strict=False):
        assert torch.equal(labels, rows)
        assert torch.equal(images, rows.double()[:, None, None, None].expand(-1, 1, 2, 2))


def test_saliency_batches_hold_different_images_with_their_labels(split):
    batches = saliency_batches(split, 10, 4, seed=0)
    assert [len(labels) for _, labels in batches] == [10] * 4
    assert sorted(torch.cat([labels for _, labels in batches]).tolist()) == list(range(40))
    assert all(torch.equal(images[:, 0, 0, 0], labels.double()) for images, labels in batches)


def test_the_saliency_batch_is_drawn_apart_from_the_batch_order(split):
    order = next(training_batches(split, 40, 0))[1]
    [(_, labels)] = saliency_batches(split, 40, 1, seed=0)
    assert not torch.equal(labels, order)
    torch.manual_seed(1)
    [(_, again)] = saliency_batches(split, 40, 1, seed=0)
    assert torch.equal(again, labels)


def test_another_seed_scores_with_other_images(split):
    [(_, first)], [(_, second)] = (saliency_batches(split, 10, 1, seed=seed) for seed in (0, 1))
    assert first.tolist() != second.tolist()


def test_more_saliency_batches_begin_with_the_same_one(split):
    [(_, alone)] = saliency_batches(split, 10, 1, seed=0)
    assert torch.equal(saliency_batches(split, 10, 3, seed=0)[0][1], alone)


def test_more_saliency_images_than_there_are_is_refused(split):
    with pytest.raises(ConfigError, match="is 42 but there are 40 training images: lower one"):
        saliency_batches(split, 21, 2, seed=0)
