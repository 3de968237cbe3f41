"""Training is what its schedule defines, written out."""

import pytest
import torch
import torch.nn.functional as F

from snip_cli.data.draws import draws
from snip_cli.pruning.pruner import FixedMask
from snip_cli.training.trainer import Trainer
from tests.training.trainings import SEED, as_a_run_holds_it, half_mask, random_data, schedule_of, train, trainer_of


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
    model = as_a_run_holds_it(network)
    trainer = Trainer(model, FixedMask(model, everything), random_data(), schedule_of(), SEED)
    train(trainer)
    train_plainly(network, everything, random_data(), trainer.schedule)
    for name, expected in network.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], expected, rtol=0, atol=1e-12)


def test_an_evaluation_tells_the_mean_loss_of_the_iterations_since_the_last_one(network):
    trainer = trainer_of(as_a_run_holds_it(network), iterations=23, evaluate_every=5, checkpoint_every=7)
    rows, _ = train(trainer)
    losses = train_plainly(network, half_mask(network), random_data(), trainer.schedule)
    intervals = [losses[0:5], losses[5:10], losses[10:15], losses[15:20], losses[20:23]]
    expected = [sum(interval) / len(interval) for interval in intervals]
    assert [row["train_loss"] for row in rows] == pytest.approx(expected, rel=0, abs=1e-12)
