"""Pruners in two processes that train one network: the same masks in both, and what one process trains alone."""

import multiprocessing

import pytest
import torch
import torch.distributed as dist

from snip_cli import registry
from snip_cli.pruning.method import find_method
from snip_cli.pruning.pruner import Plan
from snip_cli.runtime.processes import SINGLE_PROCESS, ProcessGroup
from snip_cli.training.trainer import Trainer
from tests.training.test_pruner import Gates
from tests.training.trainings import SEED, random_data, schedule_of, train


def network():
    torch.manual_seed(5)
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 4)]
    return torch.nn.Sequential(*layers).double()


def pruner_of(name, **options):
    def make(model, group):
        registry.load_builtin()
        method = find_method(name)
        plan = Plan(200, schedule_of(), torch.Generator().manual_seed(0), group, images=30)
        return method.function(model, plan, method.read_options(options))

    return make


PRUNERS = {
    "gmp": pruner_of("gmp", every=3),
    "rigl": pruner_of("rigl", every=3),
    **{name: pruner_of(name) for name in ("set", "dns", "lc", "sws")},
    "own parameters": lambda model, group: Gates(model),
}


def trained(name, group):
    """The masks and weights after training, and the losses of the evaluations."""
    model = network()
    trainer = Trainer(model, PRUNERS[name](model, group), random_data(), schedule_of(), SEED, group=group)
    rows, _ = train(trainer)
    return trainer.masks()[0], trainer.weights()[0], [row["train_loss"] for row in rows]


def work(rank, folder):
    """What each of two processes does: train with every pruner, one after the other, and leave the results in a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save({name: trained(name, ProcessGroup(rank, 2)) for name in PRUNERS}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(rank, str(folder))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", PRUNERS)
def test_both_processes_have_the_same_masks_and_weights(name, results):
    (masks, weights, _), (others, other_weights, _) = (result[name] for result in results)
    assert any(not keep.all() for keep in masks.values())
    assert all(torch.equal(keep, others[key]) for key, keep in masks.items())
    assert all(torch.equal(weight, other_weights[key]) for key, weight in weights.items())


@pytest.mark.parametrize("name", PRUNERS)
def test_they_train_what_one_process_trains(name, results):
    masks, weights, losses = results[0][name]
    expected_masks, expected_weights, expected_losses = trained(name, SINGLE_PROCESS)
    assert all(torch.equal(keep, expected_masks[key]) for key, keep in masks.items())
    for key, weight in weights.items():
        torch.testing.assert_close(weight, expected_weights[key], rtol=0, atol=1e-12)
    assert losses == pytest.approx(expected_losses, rel=1e-10)
