"""Training with the kept weights alone is the masked training, to rounding."""

import pytest
import torch
from torch import nn

from snip_cli import registry
from snip_cli.errors import RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import top_mask
from snip_cli.pruning.pruner import FixedMask
from snip_cli.training.sparse.chain import ChainNetwork
from snip_cli.training.sparse.chain_layers import steps_of
from snip_cli.training.sparse.trainer import SparseTrainer
from snip_cli.training.trainer import Trainer
from tests.training.sparse.small import (
    BATCH,
    OPTIMIZERS,
    SEED,
    SHAPE,
    assert_same,
    data_of,
    settings,
    train,
)


def odd(shape, classes):
    """Strides, padding, ReLU before and after pooling, overlapping windows, and rows that no vector divides."""
    return nn.Sequential(
        *(
            nn.Conv2d(shape[0], 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 8, (3, 4), 2, 1),
            nn.MaxPool2d(3, 2),
            nn.ReLU(),
        ),
        *(nn.Conv2d(8, 5, 2), nn.Flatten(), nn.Linear(20, 7), nn.ReLU(), nn.Linear(7, classes)),
    )


NETWORKS = {"lenet_300_100": registry.models, "lenet_5_caffe": registry.models, "odd": {"odd": odd}}
each_network = pytest.mark.parametrize("name", NETWORKS)


def pruned(name, kept, dtype):
    torch.manual_seed(SEED)
    model = NETWORKS[name][name](SHAPE, 10).to(dtype)
    scores = {key: torch.rand_like(parameter) for key, parameter in prunable_parameters(model).items()}
    return model, top_mask(scores, round(kept * sum(score.numel() for score in scores.values())))


def masked(name, dtype=torch.float64, kept=0.2, **changes):
    model, mask = pruned(name, kept, dtype)
    return Trainer(model, FixedMask(model, mask), data_of(dtype), settings(**changes), SEED)


def sparse(name, dtype=torch.float64, kept=0.2, **changes):
    model, mask = pruned(name, kept, dtype)
    FixedMask(model, mask)
    numbers = next(model.parameters()).detach().numpy().dtype
    network = ChainNetwork(steps_of(model), mask, SHAPE, BATCH, numbers)
    return SparseTrainer(model, network, mask, data_of(dtype), settings(**changes), SEED)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@each_network
def test_a_hundred_iterations_are_those_of_the_masked_training(name, optimizer):
    ours, theirs = sparse(name, **OPTIMIZERS[optimizer]), masked(name, **OPTIMIZERS[optimizer])
    (our_rows, our_states), (their_rows, their_states) = train(ours), train(theirs)
    assert_same(ours.weights()[0], theirs.weights()[0], 1e-9)
    for one, other in zip(our_rows, their_rows, strict=True):
        assert one == pytest.approx(other, abs=1e-9, nan_ok=True)
    assert our_states[0]["progress"]["iteration"] == their_states[0]["progress"]["iteration"] == 50
    assert_same(our_states[0]["model"], their_states[0]["model"], 1e-9)


@pytest.mark.parametrize("anneal", ["cosine", "linear"])
def test_the_learning_rate_falls_as_in_the_masked_training(anneal):
    ours, theirs = (make("lenet_5_caffe", anneal=anneal, warmup=10) for make in (sparse, masked))
    (our_rows, _), (their_rows, _) = train(ours), train(theirs)
    assert_same(ours.weights()[0], theirs.weights()[0], 1e-9)
    stepped = masked("lenet_5_caffe", warmup=10)
    train(stepped)
    assert not torch.equal(stepped.weights()[0]["fc1.weight"], theirs.weights()[0]["fc1.weight"])
    assert [row["learning_rate"] for row in our_rows] == [row["learning_rate"] for row in their_rows]


@each_network
def test_in_single_precision_the_weights_differ_by_rounding(name):
    ours, theirs = (make(name, torch.float32, iterations=20, learning_rate=0.01) for make in (sparse, masked))
    train(ours), train(theirs)
    assert_same(ours.weights()[0], theirs.weights()[0], 1e-5)


@each_network
def test_pruned_entries_are_exactly_zero_in_every_record(name):
    training = sparse(name, momentum=0.9)
    _, [state] = train(training)
    for name, keep in training.masks()[0].items():
        assert (training.weights()[0][name][~keep] == 0).all()
        assert (state["model"][name][~keep] == 0).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("first", "second"), [(sparse, masked), (masked, sparse)], ids=["to masked", "to sparse"])
def test_either_training_continues_the_checkpoint_of_the_other(first, second, optimizer):
    whole, rest = masked("lenet_5_caffe", **OPTIMIZERS[optimizer]), second("lenet_5_caffe", **OPTIMIZERS[optimizer])
    _, [state] = train(first("lenet_5_caffe", **OPTIMIZERS[optimizer]))
    rest.load([state])
    train(whole), train(rest)
    assert_same(rest.weights()[0], whole.weights()[0], 1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_checkpoint_continues_to_the_same_bits(dtype, optimizer):
    whole, rest = (sparse("lenet_5_caffe", dtype, **OPTIMIZERS[optimizer]) for _ in range(2))
    rows, [state] = train(whole)
    rest.load([state])
    rest_rows, _ = train(rest)
    assert_same(rest.weights()[0], whole.weights()[0], 0.0)
    assert rest_rows == rows[1:]


def test_a_training_that_diverges_is_noticed_at_its_iteration():
    found = []
    for make in (masked, sparse):
        with pytest.raises(RunError, match="not finite at iteration") as error:
            train(make("lenet_5_caffe", learning_rate=1e6, momentum=0.9))
        found.append(str(error.value))
    assert found[0] == found[1]


def test_a_network_of_which_almost_nothing_is_kept():
    ours, theirs = (make("lenet_5_caffe", kept=2e-5, iterations=10) for make in (sparse, masked))
    assert sum(int(keep.sum()) for keep in ours.masks()[0].values()) < 5
    train(ours), train(theirs)
    assert_same(ours.weights()[0], theirs.weights()[0], 1e-9)


def test_the_last_batch_of_an_evaluation_may_be_smaller_than_the_others():
    ours, theirs = sparse("lenet_300_100"), masked("lenet_300_100")
    for split, count in ((ours.data.validation, 33), (ours.data.test, 41)):
        assert len(split) == count
    assert ours.evaluate(ours.data.test)[0] == pytest.approx(theirs.evaluate(theirs.data.test)[0], abs=1e-9)
