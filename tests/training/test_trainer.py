import copy
import io
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli.data.splits import Data, draws
from snip_cli.errors import RunError
from snip_cli.pruning.mask import prunable_parameters
from snip_cli.sections import Schedule
from snip_cli.training.evaluation import evaluate
from snip_cli.training.trainer import Trainer
from tests.splits import split_of

SEED = 4


def schedule_of(**changes):
    values = {
        "name": "test",
        "iterations": 30,
        "batch_size": 8,
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "milestones": [12, 21],
        "decay": 0.5,
        "evaluate_every": 10,
        "checkpoint_every": 10,
    }
    return Schedule(**values | changes)


def random_split(count, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 8, 8, generator=generator, dtype=torch.float64)
    return split_of(images.to(dtype), torch.randint(4, (count,), generator=generator))


def random_data(dtype=torch.float64):
    """Random images and labels: 30 to train with, so that batches of 8 cross the end of an epoch."""
    return Data(*(random_split(count, seed, dtype) for seed, count in enumerate((30, 9, 11))))


def half_mask(model):
    """A mask that keeps about half of each parameter, drawn at random."""
    generator = torch.Generator().manual_seed(6)
    return {name: torch.rand(p.shape, generator=generator) < 0.5 for name, p in prunable_parameters(model).items()}


def as_a_run_holds_it(model, dtype=torch.float64):
    return copy.deepcopy(model).to(dtype=dtype, memory_format=torch.channels_last)


def trainer_of(model, data=None, **changes):
    return Trainer(model, half_mask(model), data or random_data(), schedule_of(**changes), SEED)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def train(trainer):
    """Train to the end; gives the evaluations' rows and the checkpoints' states, as they were at that moment."""
    rows, states = [], []
    trainer.train(
        evaluated=lambda _, row: rows.append(dict(row)),
        checkpoint=lambda states_: states.append(through_a_file(states_[SEED])),
    )
    return rows, states


def after_every_step(trainer, look):
    """Let `look` be called after each of the trainer's steps."""
    step = trainer.step

    def step_and_look(images, labels):
        loss = step(images, labels)
        look()
        return loss

    trainer.step = step_and_look


def without_times(rows):
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in rows]


def train_plainly(model, mask, data, schedule):
    """Gradient descent with momentum, written out; gives the loss of every iteration.

    The masked weights and biases decay, batch-norm does not; the mask is applied before the first and after every iteration.
    """
    parameters = dict(model.named_parameters())
    velocity = {name: torch.zeros_like(w) for name, w in parameters.items()}
    losses, rate = [], schedule.learning_rate
    for name, keep in mask.items():
        parameters[name].data *= keep
    model.train()
    batches = data.train.drawn(draws(len(data.train), schedule.batch_size, SEED))
    for iteration in range(schedule.iterations):
        if iteration in schedule.milestones:
            rate *= schedule.decay
        warm = min(1.0, (iteration + 1) / schedule.warmup) if schedule.warmup else 1.0
        images, labels = next(batches)
        loss = F.cross_entropy(model(images), labels)
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        losses.append(loss.item())
        for (name, w), gradient in zip(parameters.items(), gradients, strict=True):
            decay = schedule.weight_decay if name in mask else 0.0
            slope = gradient + decay * w.data
            velocity[name] = schedule.momentum * velocity[name] + slope
            step = slope + schedule.momentum * velocity[name] if schedule.nesterov else velocity[name]
            w.data -= warm * rate * step
            if name in mask:
                w.data *= mask[name]
    return losses


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


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_training_equals_gradient_descent_written_out(momentum, weight_decay, network):
    trainer = trainer_of(as_a_run_holds_it(network), momentum=momentum, weight_decay=weight_decay)
    train(trainer)
    train_plainly(network, half_mask(network), random_data(), trainer.schedule)
    for name, expected in network.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("changes", [{"nesterov": True}, {"warmup": 7}, {"warmup": 15, "nesterov": True}], ids=str)
def test_nesterov_and_warm_up_equal_their_definition(changes, network):
    trainer = trainer_of(as_a_run_holds_it(network), **changes)
    train(trainer)
    train_plainly(network, half_mask(network), random_data(), trainer.schedule)
    for name, expected in network.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_adam_equals_its_definition(weight_decay, network):
    changes = {"optimizer": "adam", "momentum": 0.0, "learning_rate": 0.01, "weight_decay": weight_decay}
    trainer = trainer_of(as_a_run_holds_it(network), **changes)
    train(trainer)
    train_plainly_by_adam(network, half_mask(network), random_data(), trainer.schedule)
    # A bias before batch-norm has a gradient of rounding alone, some 1e-17, which Adam divides by 1e-8.
    for name, expected in network.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], expected, rtol=0, atol=1e-9)


def train_plainly_by_adam(model, mask, data, schedule):
    """Algorithm 1 of Kingma & Ba (2015) with its constants, the L2 term in the gradient, and the mask after every iteration."""
    parameters = dict(model.named_parameters())
    first = {name: torch.zeros_like(w) for name, w in parameters.items()}
    second = {name: torch.zeros_like(w) for name, w in parameters.items()}
    for name, keep in mask.items():
        parameters[name].data *= keep
    model.train()
    batches = data.train.drawn(draws(len(data.train), schedule.batch_size, SEED))
    for t in range(1, schedule.iterations + 1):
        images, labels = next(batches)
        gradients = torch.autograd.grad(F.cross_entropy(model(images), labels), list(parameters.values()))
        for (name, w), gradient in zip(parameters.items(), gradients, strict=True):
            slope = gradient + (schedule.weight_decay if name in mask else 0.0) * w.data
            first[name] = 0.9 * first[name] + 0.1 * slope
            second[name] = 0.999 * second[name] + 0.001 * slope**2
            unbiased = first[name] / (1 - 0.9**t), second[name] / (1 - 0.999**t)
            w.data -= schedule.rate_at(t - 1) * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
            if name in mask:
                w.data *= mask[name]


def test_without_a_pruned_parameter_the_whole_network_is_trained(network):
    everything = {name: torch.ones_like(keep) for name, keep in half_mask(network).items()}
    trainer = Trainer(as_a_run_holds_it(network), everything, random_data(), schedule_of(), SEED)
    train(trainer)
    train_plainly(network, everything, random_data(), trainer.schedule)
    for name, expected in network.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], expected, rtol=0, atol=1e-12)


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


def test_an_evaluation_tells_the_mean_loss_of_the_iterations_since_the_last_one(network):
    trainer = trainer_of(as_a_run_holds_it(network), iterations=23, evaluate_every=5, checkpoint_every=7)
    rows, _ = train(trainer)
    losses = train_plainly(network, half_mask(network), random_data(), trainer.schedule)
    intervals = [losses[0:5], losses[5:10], losses[10:15], losses[15:20], losses[20:23]]
    expected = [sum(interval) / len(interval) for interval in intervals]
    assert [row["train_loss"] for row in rows] == pytest.approx(expected, rel=0, abs=1e-12)


def test_an_evaluation_is_of_the_validation_and_the_test_split(network):
    trainer = trainer_of(network)
    rows, _ = train(trainer)
    data = random_data()
    assert (rows[-1]["val_error"], rows[-1]["val_loss"]) == evaluate(network, data.validation)
    assert (rows[-1]["test_error"], rows[-1]["test_loss"]) == evaluate(network, data.test)
    assert without_times(trainer.progress.evaluations) == without_times(rows)


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
        assert resumed.progress.iteration == done
        later, _ = train(resumed)
        assert without_times(later) == [row for row in without_times(rows) if row["iteration"] > done]
        assert without_times(resumed.progress.evaluations) == without_times(rows)
        for part in ("model", "optimizer"):
            assert_bit_equal(resumed.state()[part], unbroken.state()[part])


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
    assert 1000 < resumed.progress.seconds < 1100


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
            evaluated=lambda _, row: rows.append(row["iteration"]),
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
