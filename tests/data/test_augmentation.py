"""The augmentation of a batch, compared with one of single images, and the frequencies of its cases."""

import pytest
import torch

from snip_cli.data.augmentation import FlipTranslate, resident_augmentation
from snip_cli.data.draws import NUMBERS, draws
from snip_cli.data.resident import Raw, resident


def random_batch(count, shape=(3, 9, 7), seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    return images, torch.randint(NUMBERS, (count,), generator=generator)


def moved(image, flipped, down, right):
    """One image, flipped and then translated pixel by pixel; outside the image is zero."""
    height, width = image.shape[1:]
    result = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            source_y, source_x = y + down, x + right
            if 0 <= source_y < height and 0 <= source_x < width:
                result[:, y, x] = image[:, source_y, width - 1 - source_x if flipped else source_x]
    return result


def every_case(image, pixels):
    """Every possible result for an image, by (flipped, down, right)."""
    steps = range(-pixels, pixels + 1)
    return {
        (flipped, down, right): moved(image, flipped, down, right)
        for flipped in (False, True)
        for down in steps
        for right in steps
    }


def cases_of(augment, image, count, seed=0):
    """How often each case occurs among `count` draws of the same image."""
    _, numbers = random_batch(count, seed=seed)
    results = augment(image.expand(count, -1, -1, -1), numbers)
    known = {result.numpy().tobytes(): case for case, result in every_case(image, augment.pixels).items()}
    found = {}
    for result in results.contiguous().numpy():
        case = known[result.tobytes()]  # KeyError if no case of the reference has this result
        found[case] = found.get(case, 0) + 1
    return found


# An image without zeros or symmetry, so that every case has a different result.
IMAGE = torch.arange(1.0, 1 + 2 * 6 * 5, dtype=torch.float64).reshape(2, 6, 5)


def paper(flipped, moved):
    """The share of images that are flipped and moved: every image is moved, and half of them are flipped."""
    return {True: 1 / 2, False: 0}[moved]


def released(flipped, moved):
    """The share of images that the released code flips and moves: none, one or both of two operations."""
    share = 0.0
    for operations in ((), ("move",), ("flip",), ("move", "flip")):
        drawn = 1 / 3 / (2 if len(operations) == 1 else 1)
        for coin in (True, False):
            if (("flip" in operations and coin), "move" in operations) == (flipped, moved):
                share += drawn / 2
    return share


@pytest.mark.parametrize(("name", "shares"), [("flip_translate", paper), ("flip_translate_released", released)])
def test_every_case_occurs_as_often_as_it_should(name, shares):
    count, pixels = 40_000, 2
    found = cases_of(resident_augmentation(name, pixels), IMAGE, count)
    cells = (2 * pixels + 1) ** 2
    assert len(found) == 2 * cells
    for (flipped, down, right), times in found.items():
        share = shares(flipped, True) / cells + shares(flipped, False) * (down == right == 0)
        # Five standard deviations of a binomial draw.
        assert abs(times / count - share) < 5 * (share * (1 - share) / count) ** 0.5


def test_what_comes_in_from_outside_is_zero_and_nothing_else_changes():
    found = cases_of(FlipTranslate(4), IMAGE, 2000)
    assert max(abs(down) for _, down, _ in found) == 4
    assert max(abs(right) for _, _, right in found) == 4


def test_images_of_a_batch_are_augmented_each_by_its_own_number():
    augment = FlipTranslate(3)
    images, numbers = random_batch(32)
    together = augment(images, numbers)
    alone = torch.cat([augment(images[i : i + 1], numbers[i : i + 1]) for i in range(32)])
    assert torch.equal(together, alone)
    assert not torch.equal(together, images)


def test_only_the_training_batches_are_augmented():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (40, 3, 8, 8), generator=generator, dtype=torch.uint8)
    raw = Raw(images, torch.arange(40), images[:4], torch.arange(4))
    made = {"split_seed": 9, "device": torch.device("cpu"), "dtype": torch.float64}
    plain, augmented = (resident(raw, augment=augment, **made) for augment in (None, FlipTranslate(4)))
    rows = torch.arange(4)
    for split in ("train", "validation", "test"):
        [(first, _)], [(second, _)] = (getattr(data, split).selected([rows]) for data in (plain, augmented))
        assert torch.equal(first, second)
    [(first, labels)], [(second, same)] = (
        list(data.train.drawn([next(draws(36, 20, 0))])) for data in (plain, augmented)
    )
    assert torch.equal(labels, same)
    assert not torch.equal(first, second)
