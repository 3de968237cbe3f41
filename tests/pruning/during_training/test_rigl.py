"""RigL against its equation and against a loop written out."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from snip_cli.data.draws import draws
from snip_cli.errors import ConfigError, RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.densities import random_mask, weight_counts_of
from snip_cli.pruning.method import find_method
from snip_cli.pruning.pruner import Plan
from snip_cli.training.trainer import Trainer
from tests.pruning.states import equal
from tests.training.trainings import (
    SEED,
    as_a_run_holds_it,
    masks_of,
    random_data,
    schedule_of,
    train,
)

RIGL = find_method("rigl")
EVERY, END = 3, 22


def kappa(model):
    return round(sum(p.numel() for p in prunable_parameters(model).values()) * 0.4)


def trainer_of(network, options=None, **changes):
    model, schedule = as_a_run_holds_it(network), schedule_of(**changes)
    plan = Plan(kappa(model), schedule, torch.Generator().manual_seed(3), images=30)
    pruner = RIGL.function(model, plan, RIGL.read_options({"every": EVERY, **(options or {})}))
    return Trainer(model, pruner, random_data(), schedule, SEED)


def counts(mask):
    return {name: int(keep.sum()) for name, keep in mask.items()}


@pytest.mark.parametrize("densities", ["erk", "uniform"])
def test_every_layer_keeps_its_count_at_every_iteration_and_all_biases(densities, network):
    parameters = prunable_parameters(network)
    expected = weight_counts_of(parameters, kappa(network), densities)
    masks = masks_of(trainer_of(network, {"densities": densities}))
    for mask in masks:
        assert sum(counts(mask).values()) == kappa(network)
        assert {name: count for name, count in counts(mask).items() if name in expected} == expected
    assert all(keep.all() for keep in masks[-1].values() if keep.dim() == 1)


def test_the_mask_changes_every_few_iterations_and_stays_from_three_quarters_on(network):
    masks = masks_of(trainer_of(network))
    changed = [t for t, pair in enumerate(itertools.pairwise(masks), 1) if not equal(*pair)]
    assert set(changed) <= {3, 6, 9, 12, 15, 18, 21}
    assert changed[:3] == [3, 6, 9]


def test_the_fraction_is_the_cosine_of_the_paper(network):
    rule = trainer_of(network, {"fraction": 0.4}).pruner._rule
    for t in range(1, 31):
        due = t % EVERY == 0 and t < END
        assert rule.fraction(t) == (pytest.approx(0.2 * (1 + math.cos(math.pi * t / END))) if due else 0.0)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_equals_the_loop_written_out(optimizer, network):
    """Smallest weights go, largest gradients of the iteration come, at 0 and without momentum; what goes and comes at once stays."""
    adam = {"optimizer": "adam", "momentum": 0.0, "learning_rate": 0.01}
    trainer = trainer_of(network, **(adam if optimizer == "adam" else {}))
    schedule, model = trainer.schedule, as_a_run_holds_it(network)
    parameters, prunable = dict(model.named_parameters()), prunable_parameters(model)
    mask = random_mask(prunable, kappa(model), "erk", torch.Generator().manual_seed(3))
    first, second = ({name: torch.zeros_like(p) for name, p in parameters.items()} for _ in range(2))
    for name, keep in mask.items():
        parameters[name].data *= keep
    batches = random_data().train.drawn(draws(30, schedule.batch_size, SEED))
    grown_in_all = 0
    for t in range(1, schedule.iterations + 1):
        images, labels = next(batches)
        slopes = torch.autograd.grad(F.cross_entropy(model(images), labels), list(parameters.values()))
        slopes = dict(zip(parameters, slopes, strict=True))
        for name, w in parameters.items():
            slope = slopes[name] + (schedule.weight_decay if name in mask else 0.0) * w.data
            rate = schedule.rate_at(t - 1)
            if optimizer == "sgd":
                first[name] = schedule.momentum * first[name] + slope
                w.data -= rate * first[name]
            else:
                first[name] = 0.9 * first[name] + 0.1 * slope
                second[name] = 0.999 * second[name] + 0.001 * slope**2
                size = (second[name] / (1 - 0.999**t)).sqrt() + 1e-8
                w.data -= rate * first[name] / (1 - 0.9**t) / size
        for name, keep in mask.items():
            parameters[name].data *= keep
        if t % EVERY == 0 and t < END:
            for name in [name for name in mask if mask[name].dim() > 1]:
                old, w, slope = mask[name].flatten(), parameters[name].data.flatten(), slopes[name].flatten()
                active = [i for i in range(len(old)) if old[i]]
                number = int(0.15 * (1 + math.cos(math.pi * t / END)) * len(active))
                stay = sorted(active, key=lambda i: -abs(float(w[i])))[: len(active) - number]
                others = [i for i in range(len(old)) if i not in stay]
                grown = sorted(others, key=lambda i: -abs(float(slope[i])))[:number]
                new = torch.zeros_like(old)
                new[stay + grown] = True
                fresh = (new & ~old).view_as(mask[name])
                grown_in_all += int(fresh.sum())
                mask[name] = new.view_as(mask[name])
                parameters[name].data *= mask[name]
                first[name][fresh] = 0.0
                second[name][fresh] = 0.0
                assert not parameters[name].data[fresh].any()
    assert grown_in_all > 0
    train(trainer)
    assert equal({name: trainer.pruner.mask[name] for name in mask}, mask)
    for name, expected in model.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], expected, rtol=0, atol=1e-9)


def test_a_weight_without_a_gradient_is_no_obstacle(network):
    """A layer that the output does not use has no gradient at all."""
    network.register_module("idle", torch.nn.Linear(6, 6).double())
    network.idle.forward = lambda outputs: outputs
    masks = masks_of(trainer_of(network))
    assert counts(masks[-1]) == counts(masks[0])


@pytest.mark.parametrize("method", ["rigl", "set"])
def test_a_weight_that_is_not_finite_is_reported_as_a_training_that_diverged(method, network):
    model, schedule, chosen = as_a_run_holds_it(network), schedule_of(learning_rate=1e300), find_method(method)
    plan = Plan(kappa(model), schedule, torch.Generator(), images=8)
    options = chosen.read_options({"every": 1} if method == "rigl" else {})
    trainer = Trainer(model, chosen.function(model, plan, options), random_data(), schedule, SEED)
    with pytest.raises(RunError, match="The loss is not finite at iteration"):
        train(trainer)


def test_what_does_not_fit_the_schedule_is_refused():
    with pytest.raises(ConfigError) as error:
        RIGL.check_schedule(schedule_of(), RIGL.read_options({"end": 31}))
    assert str(error.value) == (
        "method.end=31 is after the last of the schedule's 30 iterations: lower it, or raise schedule.iterations."
    )
    RIGL.check_schedule(schedule_of(), RIGL.read_options({"end": 30}))


def test_a_mask_that_never_changes_is_warned_of(network, caplog):
    trainer_of(network, {"every": 22})
    assert "rigl never changes the mask in 30 iterations: lower method.every=22" in caplog.text
    caplog.clear()
    trainer_of(network, {"every": 21})
    assert "never" not in caplog.text
