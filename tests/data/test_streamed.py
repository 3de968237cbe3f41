"""Streamed images: decoding and cropping, which neither workers nor an interruption of the training change."""

import itertools
import multiprocessing

import numpy
import pytest
import torch
from PIL import Image

from snip_cli.data.draws import draws
from snip_cli.data.resident import normalisation
from snip_cli.data.streamed import Files, streamed, while_workers_live
from snip_cli.errors import ConfigError, RunError

CPU = torch.device("cpu")
SIZE = 16


@pytest.fixture
def files(tmp_path):
    """Twenty training images of several sizes and modes and four test images, labelled by their numbers."""
    generator = numpy.random.default_rng(0)

    def image(number, mode="RGB"):
        height, width = generator.integers(20, 40, 2)
        # Smooth, so that a resized image still looks like the original.
        small = Image.fromarray(generator.integers(256, size=(4, 4, 3), dtype=numpy.uint8))
        path = tmp_path / f"{number}.png"
        small.resize((int(width), int(height)), Image.Resampling.BICUBIC).convert(mode).save(path)
        return path

    train = [image(number, "L" if number % 5 == 0 else "RGB") for number in range(20)]
    test = [image(100 + number) for number in range(4)]
    return Files(train, torch.arange(20), test, torch.arange(4), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def data_of(files, workers=0, sizes=(), augmented=True):
    normalise = normalisation(
        torch.tensor(files.mean, dtype=torch.float64), torch.tensor(files.std, dtype=torch.float64), CPU, torch.float64
    )
    how = {"split_seed": 9, "held_out": 0.2, "size": SIZE, "sizes": sizes, "device": CPU}
    return streamed(files, normalise, workers=workers, augmented=augmented, **how)


def pixels(images):
    """Normalised images back in [0, 1]."""
    std, mean = (
        torch.tensor(values, dtype=torch.float64)[:, None, None] for values in ((0.2, 0.25, 0.3), (0.5, 0.4, 0.3))
    )
    return images * std + mean


def first(split, number=4, **place):
    drawn = draws(len(split), 4, 0, **place)
    return list(itertools.islice(split.drawn(drawn), number))


def test_the_training_files_are_split_and_keep_their_labels(files):
    data = data_of(files)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [16, 4, 4]
    assert sorted([*data.train.labels.tolist(), *data.validation.labels.tolist()]) == list(range(20))
    assert all(int(path.stem) == label for path, label in zip(data.train.files.paths, data.train.labels, strict=True))


def test_evaluation_sees_the_middle_of_the_image_resized_to_eight_sevenths_of_the_crop(files):
    [(images, labels)] = data_of(files).test.selected([torch.tensor([2, 0])])
    assert labels.tolist() == [2, 0]
    for image, path in zip(pixels(images), (files.test[2], files.test[0]), strict=True):
        with Image.open(path) as original:
            scale = round(SIZE * 256 / 224) / min(original.size)
            width, height = (int(side * scale) for side in original.size)
            resized = original.resize((width, height), Image.Resampling.BILINEAR)
            left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
            expected = numpy.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))
        torch.testing.assert_close(image * 255, torch.from_numpy(expected.copy()).permute(2, 0, 1).double())


def test_a_grey_image_gets_three_equal_channels(files):
    data = data_of(files)
    grey = [row for row, label in enumerate(data.train.labels.tolist()) if label % 5 == 0]
    [(images, _)] = data.train.selected([torch.tensor(grey)])
    back = pixels(images)
    torch.testing.assert_close(back[:, 0], back[:, 1])
    torch.testing.assert_close(back[:, 0], back[:, 2])


def test_other_labels_leave_the_images_as_they_are(files):
    train = data_of(files).train
    [(images, _)], [(same, labels)] = (
        list(split.selected([torch.arange(16)])) for split in (train, train.relabelled(train.labels.flip(0)))
    )
    assert torch.equal(images, same)
    assert torch.equal(labels, train.labels.flip(0))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(files, workers):
    alone, with_workers = (first(data_of(files, workers=number).train) for number in (0, workers))
    for (images, labels), (same_images, same_labels) in zip(alone, with_workers, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(labels, same_labels)


def test_a_training_goes_on_from_an_iteration_as_if_there_had_been_no_break(files):
    train = data_of(files).train
    whole, rest = first(train, 6), first(train, 4, start=2)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(whole[2:], rest, strict=True))


def test_an_image_is_cropped_differently_in_every_epoch(files):
    batches = first(data_of(files).train, 8)
    seen = {}
    for images, labels in batches:
        for image, label in zip(images, labels.tolist(), strict=True):
            seen.setdefault(label, []).append(image)
    assert all(len(images) == 2 for images in seen.values())
    assert any(not torch.equal(*images) for images in seen.values())


def test_without_augmentation_a_training_batch_is_cropped_as_for_evaluation(files):
    train = data_of(files, augmented=False).train
    draw = next(draws(len(train), 4, 0))
    [(drawn, _)], [(selected, _)] = train.drawn([draw]), train.selected([draw.rows])
    assert torch.equal(drawn, selected)


def test_half_of_the_training_images_are_flipped():
    rows = numpy.zeros((64, 64, 3), dtype=numpy.uint8)
    rows[:, 32:] = 255  # bright on the right
    from snip_cli.data.streamed import Wanted, random_crop

    crops = [
        numpy.asarray(random_crop(Image.fromarray(rows), Wanted(0, 8, number)), dtype=float) for number in range(400)
    ]
    brighter = [crop[:, 4:].mean() - crop[:, :4].mean() for crop in crops]
    right, left = sum(value > 0 for value in brighter), sum(value < 0 for value in brighter)
    assert abs(right - left) < 5 * (right + left) ** 0.5
    assert right + left > 200


def test_decoding_leaves_the_global_generator_alone(files):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first(data_of(files).train, 1)
    assert torch.equal(torch.rand(1), expected)


def test_the_size_may_grow_in_equal_parts_of_the_training(files):
    train = data_of(files, sizes=[8, 12, 16]).train
    assert [images.shape[-1] for images, _ in first(train, 8, iterations=6)] == [8, 8, 12, 12, 16, 16, 16, 16]
    [(images, _)] = train.selected([torch.arange(2)])
    assert images.shape[-1] == SIZE


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named(files, workers):
    files.test[1].write_bytes(files.test[1].read_bytes()[:60])
    with pytest.raises(ConfigError, match=r"101\.png cannot be decoded \(.*\): copy it again or delete it\.") as error:
        list(data_of(files, workers=workers).test.selected([torch.arange(4)]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("error", [EOFError, ConnectionResetError])
def test_a_worker_killed_while_it_hands_a_batch_over_is_reported(error):
    def cut_off():
        yield "first"
        raise error

    batches = while_workers_live(cut_off())
    assert next(batches) == "first"
    with pytest.raises(RunError, match="A process that decodes images was killed"):
        next(batches)


def test_a_killed_worker_is_reported(files):
    batches = data_of(files, workers=1).train.drawn(draws(16, 4, 0))
    next(batches)
    [worker] = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(RunError, match=r"A process that decodes images was killed: lower dataset\.workers"):
        list(itertools.islice(batches, 20))
