"""Gradual magnitude pruning against its equation and against a loop written out."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from snip_cli.data.draws import draws
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.method import find_method
from snip_cli.pruning.pruner import Plan
from snip_cli.training.trainer import Trainer
from tests.training.trainings import (
    SEED,
    after_every_step,
    as_a_run_holds_it,
    masks_of,
    random_data,
    schedule_of,
    train,
)

GMP = find_method("gmp")
SPARSITY = 0.6


def kappa(model):
    return round(sum(p.numel() for p in prunable_parameters(model).values()) * (1 - SPARSITY))


def pruner_of(model, schedule, **options):
    plan = Plan(kappa(model), schedule, torch.Generator())
    return GMP.function(model, plan, GMP.read_options(options))


def trainer_of(network, *, options=None, **changes):
    model, schedule = as_a_run_holds_it(network), schedule_of(**changes)
    return Trainer(model, pruner_of(model, schedule, **(options or {"every": 3})), random_data(), schedule, SEED)


def count(mask):
    return sum(int(keep.sum()) for keep in mask.values())


@pytest.mark.parametrize(
    ("options", "begin", "end", "every"),
    [
        ({"every": 3}, 0, 15, 3),
        ({"every": 4, "begin": 2, "end": 21}, 2, 21, 4),
        ({"every": 7, "begin": 5, "end": 30}, 5, 30, 7),
        ({"every": 100}, 0, 15, 100),
    ],
    ids=str,
)
def test_the_sparsity_follows_equation_1_at_every_iteration(options, begin, end, every, network):
    total, kept = sum(p.numel() for p in prunable_parameters(network).values()), kappa(network)
    final = 1 - kept / total

    def sparsity_at(t):
        pruned_at = [u for u in range(begin, end) if (u - begin) % every == 0 and u <= t] + [end] * (t >= end)
        if not pruned_at:
            return 0.0
        return final + (0.0 - final) * (1 - (pruned_at[-1] - begin) / (end - begin)) ** 3

    masks = masks_of(trainer_of(network, options=options))
    assert [count(mask) for mask in masks] == [round(total * (1 - sparsity_at(t))) for t in range(31)]
    assert count(masks[-1]) == kept


def test_a_pruned_weight_stays_zero_and_biases_are_kept(network):
    trainer = trainer_of(network)
    parameters = dict(trainer.model.named_parameters())
    after_every_step(
        trainer,
        lambda: [pytest.fail(name) for name, keep in trainer.pruner.mask.items() if parameters[name][~keep].any()],
    )
    masks = masks_of(trainer)
    for before, after in itertools.pairwise(masks):
        assert all(not (after[name] & ~before[name]).any() for name in after)
    assert all(keep.all() for name, keep in masks[-1].items() if keep.dim() == 1)


def test_every_layer_loses_the_same_share(network):
    mask = masks_of(trainer_of(network))[-1]
    weights = [keep for keep in mask.values() if keep.dim() > 1]
    share = sum(int(keep.sum()) for keep in weights) / sum(keep.numel() for keep in weights)
    assert all(abs(int(keep.sum()) - share * keep.numel()) <= 1 for keep in weights)


def test_training_equals_the_loop_written_out(network):
    """The smallest kept weights of each layer go, one layer's share as large as another's."""
    trainer = trainer_of(network, options={"every": 4, "end": 18})
    schedule, model = trainer.schedule, as_a_run_holds_it(network)
    parameters, prunable = dict(model.named_parameters()), prunable_parameters(model)
    mask = {name: torch.ones_like(p, dtype=torch.bool) for name, p in prunable.items()}
    total, velocity = sum(p.numel() for p in prunable.values()), {n: torch.zeros_like(p) for n, p in parameters.items()}
    batches = random_data().train.drawn(draws(30, schedule.batch_size, SEED))
    for t in range(1, schedule.iterations + 1):
        images, labels = next(batches)
        gradients = torch.autograd.grad(F.cross_entropy(model(images), labels), list(parameters.values()))
        for (name, w), gradient in zip(parameters.items(), gradients, strict=True):
            slope = gradient + (schedule.weight_decay if name in mask else 0.0) * w.data
            velocity[name] = schedule.momentum * velocity[name] + slope
            w.data -= schedule.rate_at(t - 1) * velocity[name]
        if t == 18 or (t < 18 and t % 4 == 0):
            left = total - round((total - kappa(network)) * (1 - (1 - t / 18) ** 3))
            ranked = []
            for name, p in prunable.items():
                entries = [(abs(value), i) for i, value in enumerate(p.data.flatten().tolist())]
                kept = [(value, i) for value, i in entries if mask[name].flatten()[i]]
                if p.dim() == 1:
                    ranked += [(-1.0, name, i) for _, i in kept]
                else:
                    largest_first = sorted(kept, key=lambda entry: -entry[0])
                    ranked += [((place + 0.5) / p.numel(), name, i) for place, (_, i) in enumerate(largest_first)]
            mask = {name: torch.zeros_like(keep) for name, keep in mask.items()}
            for _, name, i in sorted(ranked, key=lambda entry: entry[0])[:left]:
                mask[name].view(-1)[i] = True
        for name, keep in mask.items():
            parameters[name].data *= keep
    train(trainer)
    assert all(torch.equal(keep, mask[name]) for name, keep in trainer.pruner.mask.items())
    for name, expected in model.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], expected, rtol=0, atol=1e-12)


def test_of_equal_weights_a_pruned_one_is_never_preferred(network):
    model = as_a_run_holds_it(network)
    pruner = pruner_of(model, schedule_of(), every=1)
    for iteration in range(1, 16):
        before = pruner.mask
        for parameter in model.parameters():
            torch.nn.init.zeros_(parameter)
        pruner.after_step(iteration)
        assert all(not (pruner.mask[name] & ~before[name]).any() for name in before)
    assert count(pruner.mask) == kappa(network)


def test_a_weight_that_is_not_finite_is_reported_as_a_training_that_diverged(network):
    trainer = trainer_of(network, learning_rate=1e300)
    with pytest.raises(Exception, match="The loss is not finite at iteration"):
        train(trainer)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"end": 31},
            "method.end=31 is after the last of the schedule's 30 iterations: lower it, or raise schedule.iterations.",
        ),
        (
            {"begin": 15},
            "method.begin=15 must be below the iteration that reaches the sparsity, which is 15 here: lower method.begin or raise method.end.",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_the_schedule_is_refused(options, sentence):
    with pytest.raises(ConfigError) as error:
        GMP.check_schedule(schedule_of(), GMP.read_options(options))
    assert str(error.value) == sentence
    GMP.check_schedule(schedule_of(), GMP.read_options({"end": 30, "begin": 29}))
