"""What trains only a part of the schedule, and what keeps weights on the way: one network and several as one."""

from dataclasses import replace

import pytest
import torch

from snip_cli.errors import RunError
from tests.training.stacked.test_trainer import SEEDS, data_of, stacked_of
from tests.training.trainings import trainer_of


def perceptron():
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 9), torch.nn.ReLU(), torch.nn.Linear(9, 4)
    ).double()


def single(**changes):
    return trainer_of(perceptron(), **changes)


def stacked(**changes):
    return stacked_of("lenet_300_100", 0.1, data_of(8), **changes)


each_trainer = pytest.mark.parametrize("make", [single, stacked])


def train(training, **how):
    """Train; gives the iterations of evaluations and of checkpoints."""
    rows, states = [], []
    training.train(
        evaluated=lambda seed, row: rows.append(row.iteration) if seed == training.seeds[0] else None,
        checkpoint=lambda found: states.append(found[training.seeds[0]]["progress"]["iteration"]),
        **how,
    )
    return rows, states


def copied(training):
    return [{name: tensor.clone() for name, tensor in weights.items()} for weights in training.weights()]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@each_trainer
def test_a_part_of_the_schedule_is_the_beginning_of_the_whole(make):
    kept = {}
    whole, part = make(), make()
    train(whole, keep_at={13: kept.update})
    assert train(part, until=13) == ([10], [10])
    assert part.iteration == 13
    assert_same(part.weights(), [kept[seed] for seed in part.seeds])
    assert train(part) == ([20, 30], [20])
    assert_same(part.weights(), whole.weights())
    for found, expected in zip(part.progress, whole.progress, strict=True):
        for one, other in zip(found.evaluations, expected.evaluations, strict=True):
            assert replace(one, images_per_second=0) == replace(other, images_per_second=0)


@each_trainer
def test_keeping_weights_changes_nothing_and_they_are_copies(make):
    plain, keeping = make(), make()
    start, kept = copied(plain), {}
    assert train(plain) == train(keeping, keep_at={k: lambda found, k=k: kept.update({k: found}) for k in (0, 7, 30)})
    assert list(kept) == [0, 7, 30]
    assert_same(kept[0].values(), start)
    assert_same(kept[30].values(), keeping.weights())
    assert_same(keeping.weights(), plain.weights())
    assert [p.losses for p in keeping.progress] == [p.losses for p in plain.progress]


@each_trainer
def test_what_is_kept_on_the_way_is_not_kept_again_after_it(make):
    training, kept = make(), []
    train(training, until=8)
    train(training, keep_at={7: kept.append, 8: kept.append, 9: kept.append})
    assert len(kept) == 2


def test_of_several_only_those_that_have_not_diverged_are_kept():
    training, kept = stacked(), {}
    with torch.no_grad():
        for weight in training.stack.blocks:
            weight[1] *= 1e200
    train(training, keep_at={3: kept.update})
    assert set(kept) == {SEEDS[0], SEEDS[2]}


def test_weights_that_are_not_finite_are_not_kept():
    training = single(learning_rate=1e300)
    with pytest.raises(RunError, match="not finite at iteration 2 "):
        train(training, keep_at={2: lambda found: pytest.fail("they were kept")})


@each_trainer
def test_a_schedule_of_no_iterations_is_evaluated_once(make):
    assert train(make(iterations=0)) == ([0], [])
