import itertools

import pytest
import torch

from snip_cli.data.draws import draws
from snip_cli.data.splits import Data, held_out_rows, saliency_batches
from snip_cli.errors import ConfigError
from tests.splits import split_of


@pytest.fixture
def split():
    """Forty images whose only pixel is their number, which is also their label."""
    numbers = torch.arange(40)
    return split_of(numbers.double()[:, None, None, None].expand(-1, 1, 2, 2), numbers)


def first_batches(number, **place):
    """The rows of the first `number` batches that are drawn."""
    return [draw.rows.tolist() for draw in itertools.islice(draws(**place), number)]


def training_batches(split, batch_size, seed, start=0):
    return split.drawn(draws(len(split), batch_size, seed, start=start))


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
    for (images, labels), draw in zip(batches, draws(40, 7, 3, start=4), strict=False):
        assert torch.equal(labels, draw.rows)
        assert torch.equal(images, draw.rows.double()[:, None, None, None].expand(-1, 1, 2, 2))


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
    with pytest.raises(ConfigError, match="is 42, but there are only 40 training images: lower one"):
        saliency_batches(split, 21, 2, seed=0)


def test_a_saliency_batch_may_be_of_some_classes_alone(split):
    classes = [3, 7, 11, 30]
    [(images, labels)] = saliency_batches(split, 4, 1, seed=0, classes=classes)
    assert sorted(labels.tolist()) == classes
    assert torch.equal(images[:, 0, 0, 0], labels.double())
    everything = saliency_batches(split, 40, 1, seed=0)[0][1].tolist()
    assert labels.tolist() == [label for label in everything if label in classes]


def test_more_images_than_those_classes_have_is_refused(split):
    with pytest.raises(ConfigError, match="is 3, but there are only 2 training images of classes 3, 7: lower one"):
        saliency_batches(split, 3, 1, seed=0, classes=[3, 7])


def test_random_labels_are_the_true_ones_of_other_images_and_scores_see_the_true_ones(split):
    data = Data(split, split, split)
    assert data.scored is split
    shuffled = data.with_random_labels(9)
    assert shuffled.scored is shuffled.test is shuffled.validation is split
    labels = shuffled.train.labels
    assert sorted(labels.tolist()) == list(range(40))
    assert (labels == split.labels).sum() < 10
    [(images, given)] = shuffled.train.selected([torch.arange(40)])
    assert torch.equal(given, labels)
    assert torch.equal(images[:, 0, 0, 0], torch.arange(40).double())
    assert torch.equal(data.with_random_labels(9).train.labels, labels)


def test_every_image_of_an_epoch_gets_a_random_number_that_the_seed_fixes():
    def numbers(seed):
        return torch.cat([draw.numbers for draw in itertools.islice(draws(50, 5, seed), 20)])

    assert torch.equal(numbers(0), numbers(0))
    assert not torch.equal(numbers(0), numbers(1))
    assert len(numbers(0).unique()) == 100
    assert int(numbers(0).min()) >= 0
    assert int(numbers(0).max()) < 2**62


def test_numbers_too_go_on_from_an_iteration_as_if_there_had_been_no_break():
    whole = [draw.numbers.tolist() for draw in itertools.islice(draws(10, 4, 0), 9)]
    assert [draw.numbers.tolist() for draw in itertools.islice(draws(10, 4, 0, start=3), 6)] == whole[3:]


def test_progress_is_the_part_of_the_training_that_lies_before_a_batch():
    assert [draw.progress for draw in itertools.islice(draws(10, 4, 0, start=1, iterations=4), 3)] == [0.25, 0.5, 0.75]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_shares_of_a_group_are_the_batch(size):
    draw = next(draws(20, 8, 0))
    shares = [draw.share(rank, size) for rank in range(size)]
    assert all(len(share.rows) == len(share.numbers) == 8 // size for share in shares)
    together = sorted(
        (row, number) for s in shares for row, number in zip(s.rows.tolist(), s.numbers.tolist(), strict=True)
    )
    assert together == sorted(zip(draw.rows.tolist(), draw.numbers.tolist(), strict=True))


def test_the_part_held_out_validates_and_the_rest_trains():
    train, validation = held_out_rows(50, 0.3, split_seed=9)
    assert (len(train), len(validation)) == (35, 15)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(50))


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_part_that_leaves_nothing_is_refused(fraction):
    with pytest.raises(ConfigError, match="choose a fraction that leaves images for training and for validation"):
        held_out_rows(50, fraction, split_seed=9)
