"""What every registered method that prunes during training must do, on every small network, with options that act within 30 iterations."""

import copy

import pytest
import torch

from snip_cli import registry
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import kept_count
from snip_cli.pruning.method import Gives, find_method
from snip_cli.pruning.pruner import Plan
from snip_cli.training.trainer import Trainer
from tests.pruning.states import equal
from tests.training.trainings import SEED, as_a_run_holds_it, random_data, schedule_of, train, without_times

PRUNERS = [name for name in registry.methods.names() if find_method(name).gives is Gives.PRUNER]
# The defaults of these prune at iterations of a whole training.
OFTEN = {"gmp": {"every": 3}, "rigl": {"every": 3}}
every_method = pytest.mark.parametrize("method", PRUNERS)


def kappa(network, sparsity):
    return kept_count(sum(p.numel() for p in prunable_parameters(network).values()), sparsity)


def trainer_of(network, name, sparsity=0.6, **changes):
    """A training of 30 iterations from the same weights each time."""
    method, model, schedule = find_method(name), as_a_run_holds_it(network), schedule_of(**changes)
    options = method.options(**OFTEN.get(name, {}))
    if method.check is not None:
        try:
            method.check(copy.deepcopy(model).to("meta"), torch.empty(1, 1, 8, 8, device="meta"), options)
        except ConfigError:
            pytest.skip(f"{name} does not fit this network")
    if method.check_schedule is not None:
        method.check_schedule(schedule, options)
    kept = None if sparsity == "auto" else kappa(network, sparsity)
    plan = Plan(kept, schedule, torch.Generator().manual_seed(3), images=len(random_data().train))
    return Trainer(model, method.function(model, plan, options), random_data(), schedule, SEED)


@every_method
@pytest.mark.parametrize("sparsity", [0.05, 0.6, 0.8])
def test_training_ends_with_exactly_kappa_parameters_that_are_kept(method, sparsity, network):
    trainer = trainer_of(network, method, sparsity)
    train(trainer)
    [mask], [weights] = trainer.masks(), trainer.weights()
    assert sum(int(keep.sum()) for keep in mask.values()) == kappa(network, sparsity)
    assert not any(weights[name][~keep].any() for name, keep in mask.items())


@pytest.mark.parametrize("method", [name for name in PRUNERS if find_method(name).finds_sparsity])
def test_a_sparsity_that_is_found_is_reported_whatever_is_asked_for(method, network):
    facts = []
    for sparsity in ("auto", 0.6):
        trainer = trainer_of(network, method, sparsity)
        train(trainer)
        facts += trainer.facts()
        [mask], [weights] = trainer.masks(), trainer.weights()
        assert not any(weights[name][~keep].any() for name, keep in mask.items())
        if sparsity == "auto":
            kept, total = (
                sum(int(part) for part in parts)
                for parts in zip(*((k.sum(), k.numel()) for k in mask.values()), strict=True)
            )
            assert facts[0]["kept_found"] == kept
            assert facts[0]["sparsity_found"] == 1 - kept / total
    assert facts[0] == facts[1]


@every_method
def test_the_mask_is_bool_and_has_the_shape_of_every_prunable_parameter_before_and_after(method, network):
    trainer = trainer_of(network, method)
    expected = {name: p.shape for name, p in prunable_parameters(network).items()}
    masks = trainer.masks()
    train(trainer)
    for mask in [*masks, *trainer.masks()]:
        assert list(mask) == list(expected)
        assert {name: keep.shape for name, keep in mask.items()} == expected
        assert all(keep.dtype == torch.bool for keep in mask.values())


@every_method
def test_every_weight_stays_a_finite_number(method, network):
    trainer = trainer_of(network, method)
    rows, _ = train(trainer)
    assert all(torch.isfinite(weight).all() for weight in trainer.weights()[0].values())
    assert all(row["train_loss"] == row["train_loss"] for row in rows)


@every_method
def test_the_same_training_gives_the_same_bits_whatever_the_global_generator_holds(method, network):
    results = []
    for seed in range(2):
        torch.manual_seed(seed)
        trainer = trainer_of(network, method)
        rows, _ = train(trainer)
        results.append((without_times(rows), trainer.masks()[0], trainer.weights()[0]))
    (rows, mask, weights), (rows_again, mask_again, weights_again) = results
    assert rows == rows_again
    assert equal(mask, mask_again)
    assert equal(weights, weights_again)


@every_method
@pytest.mark.parametrize("checkpoint_every", [4, 7])
def test_going_on_from_a_checkpoint_is_bit_for_bit_never_having_stopped(method, checkpoint_every, network):
    unbroken = trainer_of(network, method, checkpoint_every=checkpoint_every)
    rows, states = train(unbroken)
    assert len(states) == 30 // checkpoint_every
    for number, state in enumerate(states):
        torch.manual_seed(number)  # a new process draws something else
        resumed = trainer_of(network, method, checkpoint_every=checkpoint_every)
        resumed.load([state])
        later, _ = train(resumed)
        done = state["progress"]["iteration"]
        assert without_times(later) == [row for row in without_times(rows) if row["iteration"] > done]
        assert equal(resumed.masks()[0], unbroken.masks()[0])
        assert equal(resumed.weights()[0], unbroken.weights()[0])
