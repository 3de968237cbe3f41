"""What a trainer does at every iteration, evaluation and checkpoint."""

import copy
import itertools

import pytest
import torch
from torch import nn

from snip_cli.errors import RunError
from snip_cli.training.evaluation import evaluate
from tests.training.trainings import (
    SEED,
    after_every_step,
    as_a_run_holds_it,
    half_mask,
    random_data,
    train,
    trainer_of,
    without_times,
)


def test_masked_parameters_are_exactly_zero_after_every_iteration(network):
    trainer = trainer_of(as_a_run_holds_it(network))
    parameters, mask = dict(trainer.model.named_parameters()), half_mask(network)
    iterations = itertools.count(1)

    def look():
        next(iterations)
        assert all(not parameters[name][~keep].any() for name, keep in mask.items())
        assert all(parameters[name][keep].all() for name, keep in mask.items())

    look()
    after_every_step(trainer, look)
    train(trainer)
    assert next(iterations) == 1 + 1 + 30


def test_the_learning_rate_falls_at_every_milestone(network):
    trainer = trainer_of(network, iterations=7, milestones=[2, 5], decay=0.1, learning_rate=0.5)
    rates = []
    after_every_step(trainer, lambda: rates.append({group["lr"] for group in trainer.optimizer.param_groups}))
    train(trainer)
    assert all(len(rate) == 1 for rate in rates)
    assert [rate.pop() for rate in rates] == pytest.approx([0.5] * 2 + [0.05] * 3 + [0.005] * 2, rel=1e-15)


def test_an_evaluation_follows_its_interval_and_the_last_iteration(network):
    rows, _ = train(trainer_of(network, iterations=23, evaluate_every=5))
    assert [row["iteration"] for row in rows] == [5, 10, 15, 20, 23]
    assert [row["learning_rate"] for row in rows] == [0.1, 0.1, 0.05, 0.05, 0.025]


def test_an_evaluation_is_of_the_validation_and_the_test_split(network):
    trainer = trainer_of(network)
    rows, _ = train(trainer)
    data = random_data()
    assert (rows[-1]["val_error"], rows[-1]["val_loss"]) == evaluate(network, data.validation)
    assert (rows[-1]["test_error"], rows[-1]["test_loss"]) == evaluate(network, data.test)
    assert without_times(trainer.progress[0].state()["evaluations"]) == without_times(rows)


def test_checkpoints_follow_their_interval_but_not_the_last_iteration(network):
    _, states = train(trainer_of(network, iterations=21, checkpoint_every=7))
    assert [state["progress"]["iteration"] for state in states] == [7, 14]


@pytest.mark.parametrize("optimizer", [{"optimizer": "sgd"}, {"optimizer": "adam", "momentum": 0.0}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("checkpoint_every", [5, 7])
def test_going_on_from_a_checkpoint_is_bit_for_bit_never_having_stopped(checkpoint_every, dtype, optimizer, network):
    changes = {"iterations": 23, "evaluate_every": 5, "checkpoint_every": checkpoint_every, **optimizer}
    data = random_data(dtype)
    unbroken = trainer_of(as_a_run_holds_it(network, dtype), data, **changes)
    rows, states = train(unbroken)
    assert len(states) == 23 // checkpoint_every
    for state in states:
        other = as_a_run_holds_it(network, dtype)
        nn.init.constant_(next(other.parameters()), 0.5)
        resumed = trainer_of(other, data, **changes)
        resumed.load([state])
        done = state["progress"]["iteration"]
        assert resumed.iteration == done
        later, _ = train(resumed)
        assert without_times(later) == [row for row in without_times(rows) if row["iteration"] > done]
        assert without_times(resumed.progress[0].state()["evaluations"]) == without_times(rows)
        for part in ("model", "optimizer", "pruner"):
            assert_bit_equal(resumed.states()[SEED][part], unbroken.states()[SEED][part])


def assert_bit_equal(found, expected):
    """Nested dictionaries and lists of tensors and numbers are the same to the last bit."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_bit_equal(found[key], expected[key])
    elif isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            assert_bit_equal(one, other)
    else:
        assert found == expected


def test_the_seconds_of_training_go_on_from_the_checkpoint(network):
    _, [state] = train(trainer_of(copy.deepcopy(network), iterations=15))
    state["progress"]["seconds"] = 1000.0
    resumed = trainer_of(network, iterations=15)
    resumed.load([state])
    train(resumed)
    assert 1000 < resumed.seconds < 1100


def test_the_state_of_another_network_is_refused(network):
    _, [state] = train(trainer_of(network, iterations=15))
    other = trainer_of(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).double())
    with pytest.raises(RuntimeError):
        other.load([state])


def test_a_loss_that_is_not_finite_ends_training_with_its_iteration_and_learning_rate(network):
    calls = itertools.count(1)

    def spoil_the_eighth(module, inputs, outputs):
        return outputs * torch.nan if module.training and next(calls) == 8 else None

    network.register_forward_hook(spoil_the_eighth)
    changes = {"evaluate_every": 5, "checkpoint_every": 3, "milestones": [7], "decay": 0.1}
    rows, kept = [], []
    with pytest.raises(RunError, match=r"not finite at iteration 8 \(learning rate 0\.01\): lower"):
        trainer_of(network, **changes).train(
            evaluated=lambda _, row: rows.append(row.iteration),
            checkpoint=lambda states: kept.append(states[SEED]["progress"]["iteration"]),
        )
    assert (rows, kept) == ([5], [3, 6])


def test_an_infinite_loss_is_not_finite_either(network):
    network.register_forward_hook(lambda module, inputs, outputs: outputs * torch.inf)
    trainer = trainer_of(network)
    with pytest.raises(RunError, match=r"not finite at iteration 1 \(learning rate 0\.1\)") as raised:
        train(trainer)
    assert trainer.failed == {SEED: raised.value}


def test_a_network_that_the_last_iteration_ruins_is_not_reported_as_a_result():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ReLU(), nn.Linear(10, 4)).double()
    with pytest.raises(RunError, match=r"not finite .*\(learning rate 1e\+300\)"):
        train(trainer_of(network, iterations=1, learning_rate=1e300))
