import numpy
import pytest
import torch

from snip_cli.data.resident import Raw, channel_statistics, resident

CPU = torch.device("cpu")


def random_images(count, seed):
    return torch.randint(256, (count, 2, 3, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.fixture
def raw():
    """A hundred training and ten test images whose labels are their numbers."""
    return Raw(random_images(100, 0), torch.arange(100), random_images(10, 1), torch.arange(10))


def split_labels(data):
    return {name: getattr(data, name).labels.tolist() for name in ("train", "validation", "test")}


def all_images(split):
    """The split's normalised images."""
    [(images, _)] = split.selected([torch.arange(len(split))])
    return images


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
            torch.testing.assert_close(all_images(split)[:, channel], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_that_are_too_large_to_be_kept_normalised_give_the_same_batches(dtype, raw, monkeypatch):
    kept = resident(raw, split_seed=9, device=CPU, dtype=dtype)
    monkeypatch.setattr("snip_cli.data.resident.READY_BYTES", 100)
    made = resident(raw, split_seed=9, device=CPU, dtype=dtype)
    assert (made.train.ready, kept.train.ready.dtype) == (None, dtype)
    for one, other in ((kept.train, made.train), (kept.test, made.test)):
        assert torch.equal(all_images(one), all_images(other))


def test_single_precision_is_double_precision_rounded_once(raw):
    single = resident(raw, split_seed=9, device=CPU, dtype=torch.float32)
    double = resident(raw, split_seed=9, device=CPU, dtype=torch.float64)
    assert torch.equal(all_images(single.train), all_images(double.train).float())


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
    assert all_images(data.train).abs().max() < 1e-6
