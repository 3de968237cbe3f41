"""SET against a loop written out."""

import itertools

import torch
import torch.nn.functional as F

from snip_cli.data.draws import draws
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.densities import random_mask
from snip_cli.pruning.during_training.set import SetRule
from snip_cli.pruning.method import find_method
from snip_cli.pruning.pruner import Plan
from snip_cli.training.trainer import Trainer
from tests.pruning.states import equal
from tests.training.trainings import (
    SEED,
    after_every_step,
    as_a_run_holds_it,
    random_data,
    schedule_of,
    train,
)

SET = find_method("set")
# 30 images in batches of 8: the iterations in which an epoch ends, but the last of the 30.
EPOCHS = [4, 8, 12, 15, 19, 23, 27]


def kappa(model):
    return round(sum(p.numel() for p in prunable_parameters(model).values()) * 0.4)


def trainer_of(network, options=None, **changes):
    model, schedule = as_a_run_holds_it(network), schedule_of(**changes)
    plan = Plan(kappa(model), schedule, torch.Generator().manual_seed(3), images=30)
    return Trainer(model, SET.function(model, plan, SET.read_options(options or {})), random_data(), schedule, SEED)


def test_the_mask_changes_after_every_epoch_but_the_last(network):
    trainer = trainer_of(network)
    masks = [dict(trainer.pruner.mask)]
    after_every_step(trainer, lambda: masks.append(dict(trainer.pruner.mask)))
    train(trainer)
    assert [t for t, pair in enumerate(itertools.pairwise(masks), 1) if not equal(*pair)] == EPOCHS
    for mask in masks:
        assert {name: int(keep.sum()) for name, keep in mask.items()} == {
            name: int(keep.sum()) for name, keep in masks[0].items()
        }
        assert sum(int(keep.sum()) for keep in mask.values()) == kappa(network)
        assert all(keep.all() for keep in mask.values() if keep.dim() == 1)


def test_the_smallest_positive_and_the_largest_negative_weights_are_dropped():
    rule = SetRule(0.3, images=10, batch_size=1, iterations=100)
    weight = torch.tensor([0.5, 0.1, 0.2, 0.9, 0.01, 0.7, 0.8, -0.3, -0.01, -0.2, -5.0, -0.1, 0.001])
    keep = torch.ones(13, dtype=torch.bool)
    keep[-1] = False
    # Two of seven positive ones, and two of five negative ones (2.1 and 1.5, rounded).
    assert rule.dropped(weight, keep, 0.3).nonzero().flatten().tolist() == [1, 4, 8, 11]


def test_training_equals_the_loop_written_out(network):
    trainer = trainer_of(network)
    schedule, model = trainer.schedule, as_a_run_holds_it(network)
    parameters, prunable = dict(model.named_parameters()), prunable_parameters(model)
    drawn = torch.Generator().manual_seed(3)
    mask = random_mask(prunable, kappa(model), "erk", drawn)
    velocity = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for name, keep in mask.items():
        parameters[name].data *= keep
    batches = random_data().train.drawn(draws(30, schedule.batch_size, SEED))
    for t in range(1, schedule.iterations + 1):
        images, labels = next(batches)
        slopes = torch.autograd.grad(F.cross_entropy(model(images), labels), list(parameters.values()))
        for (name, w), slope in zip(parameters.items(), slopes, strict=True):
            decayed = slope + (schedule.weight_decay if name in mask else 0.0) * w.data
            velocity[name] = schedule.momentum * velocity[name] + decayed
            w.data -= schedule.rate_at(t - 1) * velocity[name]
        for name, keep in mask.items():
            parameters[name].data *= keep
        if t in EPOCHS:
            for name in [name for name in mask if mask[name].dim() > 1]:
                old, w = mask[name].flatten(), parameters[name].data.flatten()
                positive = sorted((i for i in range(len(old)) if old[i] and w[i] >= 0), key=lambda i: float(w[i]))
                negative = sorted((i for i in range(len(old)) if old[i] and w[i] < 0), key=lambda i: -float(w[i]))
                dropped = positive[: round(0.3 * len(positive))] + negative[: round(0.3 * len(negative))]
                stay = [i for i in positive + negative if i not in dropped]
                chance = torch.rand(mask[name].shape, generator=drawn, dtype=torch.float64).flatten()
                others = [i for i in range(len(old)) if i not in stay]
                grown = sorted(others, key=lambda i: -float(chance[i]))[: len(dropped)]
                new = torch.zeros_like(old)
                new[stay + grown] = True
                velocity[name][(new & ~old).view_as(mask[name])] = 0.0
                mask[name] = new.view_as(mask[name])
                parameters[name].data *= mask[name]
    train(trainer)
    assert equal({name: trainer.pruner.mask[name] for name in mask}, mask)
    for name, expected in model.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], expected, rtol=0, atol=1e-9)


def test_a_schedule_of_less_than_an_epoch_is_warned_of(network, caplog):
    trainer_of(network, iterations=4)
    assert "set never changes the mask in 4 iterations: train for more than an epoch" in caplog.text
    caplog.clear()
    trainer_of(network, iterations=5)
    assert "never" not in caplog.text
