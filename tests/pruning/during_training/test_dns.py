"""Dynamic network surgery against its equations."""

import pytest
import torch

from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.method import find_method
from snip_cli.pruning.pruner import Plan
from snip_cli.training.trainer import Trainer
from tests.pruning.states import equal
from tests.training.trainings import SEED, after_every_step, as_a_run_holds_it, random_data, schedule_of, train

DNS = find_method("dns")
ALWAYS = {"gamma": 0.0}


def kappa(model, sparsity=0.6):
    return round(sum(p.numel() for p in prunable_parameters(model).values()) * (1 - sparsity))


def pruner_of(model, seed=0, **options):
    plan = Plan(kappa(model), schedule_of(), torch.Generator().manual_seed(seed))
    return DNS.function(model, plan, DNS.read_options(options))


def weights_of(model):
    return {name: p for name, p in prunable_parameters(model).items() if p.dim() > 1}


def test_a_pruned_weight_that_has_grown_comes_back_and_the_smallest_kept_one_goes(network):
    model = as_a_run_holds_it(network)
    pruner = pruner_of(model, **ALWAYS)
    name, weight = next(iter(weights_of(model).items()))
    place = tuple((~pruner.mask[name]).nonzero()[0].tolist())
    before = {each: keep.clone() for each, keep in pruner.mask.items()}
    assert pruner.weights()[name][place] == 0
    weight.data[place] = 10.0
    pruner.after_step(1)
    assert pruner.mask[name][place]
    assert pruner.weights()[name][place] == 10.0
    changed = [int((before[each] ^ keep).sum()) for each, keep in pruner.mask.items()]
    assert sum(changed) == 2


def test_training_brings_pruned_weights_back(network):
    model = as_a_run_holds_it(network)
    trainer = Trainer(model, pruner_of(model, **ALWAYS), random_data(), schedule_of(), SEED)
    masks = [trainer.masks()[0]]
    after_every_step(trainer, lambda: masks.append({name: keep.clone() for name, keep in trainer.masks()[0].items()}))
    train(trainer)
    counts = [sum(int((later[name] & ~masks[0][name]).sum()) for name in later) for later in masks]
    assert counts[-1] > 0
    assert {sum(int(keep.sum()) for keep in mask.values()) for mask in masks} == {kappa(model)}


def test_the_masks_are_those_of_the_two_thresholds_with_one_c_for_all_layers(network):
    """Where κ parameters are kept, some c exists for which Eq. 3 gives exactly this mask."""
    model = as_a_run_holds_it(network)
    weights = weights_of(model)
    mean = {name: w.abs().mean().item() for name, w in weights.items()}
    deviation = {name: w.detach().abs().std(correction=0).item() for name, w in weights.items()}
    pruner = pruner_of(model, **ALWAYS)
    generator = torch.Generator().manual_seed(5)
    for iteration in range(1, 6):
        before = {name: keep.clone() for name, keep in pruner.mask.items()}
        for weight in weights.values():
            weight.data += 0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        pruner.after_step(iteration)
        low, high = -torch.inf, torch.inf  # between which c lies
        for name, weight in weights.items():
            size, keep = weight.detach().abs(), pruner.mask[name]
            for kept_before, factor in ((True, 0.9), (False, 1.1)):
                c = (size / factor - mean[name]) / deviation[name]
                c_kept, c_pruned = (c[(before[name] == kept_before) & (keep == now)] for now in (True, False))
                high = min([high, *c_kept.tolist()])
                low = max([low, *c_pruned.tolist()])
        assert low < high
        assert sum(int(keep.sum()) for keep in pruner.mask.values()) == kappa(model)


def test_pruned_weights_are_trained_by_the_gradient_of_the_masked_network(network):
    model = as_a_run_holds_it(network)
    pruner = pruner_of(model)
    trainer = Trainer(model, pruner, random_data(), schedule_of(iterations=1, momentum=0.0), SEED)
    before, mask = {name: w.detach().clone() for name, w in weights_of(model).items()}, dict(pruner.mask)
    masked = as_a_run_holds_it(network)
    for name, weight in weights_of(masked).items():
        weight.data.mul_(mask[name])
    images, labels = next(trainer.batches())
    torch.nn.functional.cross_entropy(masked(images), labels).backward()
    trainer.step(images, labels)
    for name, weight in weights_of(model).items():
        expected = before[name] - 0.1 * (weights_of(masked)[name].grad + 0.01 * before[name])
        torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-12)


def test_updates_become_rare_and_end():
    schedule, options = schedule_of(iterations=8000), DNS.read_options({"gamma": 0.01})
    updates = options.updates(schedule, torch.Generator().manual_seed(1))
    assert max(updates) <= 7000
    for begin, end in ((0, 1000), (1000, 3000), (3000, 7000)):
        chances = [1 / (1 + 0.01 * i) for i in range(begin + 1, end + 1)]
        spread = sum(chance * (1 - chance) for chance in chances) ** 0.5
        assert abs(sum(begin < i <= end for i in updates) - sum(chances)) < 4 * spread


def test_updates_are_drawn_from_the_generator_of_the_plan(network):
    options, schedule = DNS.read_options({"gamma": 1.0}), schedule_of(iterations=1000)
    draws = [options.updates(schedule, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_the_mask_stays_after_the_last_update(network):
    model = as_a_run_holds_it(network)
    pruner = pruner_of(model, stop=3, **ALWAYS)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    before = dict(pruner.mask)
    pruner.after_step(4)
    assert equal(before, pruner.mask)
    pruner.after_step(3)
    assert not equal(before, pruner.mask)


def test_what_does_not_fit_the_schedule_is_refused():
    with pytest.raises(ConfigError) as error:
        DNS.check_schedule(schedule_of(), DNS.read_options({"stop": 31}))
    assert (
        str(error.value)
        == "method.stop=31 is after the last of the schedule's 30 iterations: lower it, or raise schedule.iterations."
    )
    DNS.check_schedule(schedule_of(), DNS.read_options({"stop": 30}))
