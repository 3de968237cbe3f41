"""Training with the kept weights alone is the masked training, to rounding."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from snip_cli import registry
from snip_cli.errors import RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.models.recurrent import CANDIDATE, RowByRow
from snip_cli.pruning.mask import top_mask
from snip_cli.pruning.pruner import FixedMask
from snip_cli.training.sparse import recurrent
from snip_cli.training.sparse.choice import sparse_network
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


def small_lstm(shape, classes):
    return RowByRow(shape[2], nn.LSTM(14, 18, batch_first=True), classes, 1.0)


def small_gru(shape, classes):
    return RowByRow(shape[2], nn.GRU(14, 18, batch_first=True), classes, 1.0)


NETWORKS = {
    "lenet_300_100": registry.models,
    "lenet_5_caffe": registry.models,
    "odd": {"odd": odd},
    "lstm": {"lstm": small_lstm},
    "gru": {"gru": small_gru},
}
each_network = pytest.mark.parametrize("name", NETWORKS)
# With what one of each kind diverges. Gates limit what a recurrent net computes, so its weights are brought beyond the largest number at
# once. With a smaller rate infinities of both signs meet in one sum, and whether that gives NaN depends on the order of the terms.
DIVERGES = {
    "lenet_5_caffe": {"learning_rate": 1e6},
    "lstm": {"learning_rate": 1.7e308, "kept": 0.5},
    "gru": {"learning_rate": 1.7e308, "kept": 0.5},
}
each_kind = pytest.mark.parametrize("name", DIVERGES)


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
    network = sparse_network(model, mask, SHAPE, BATCH)
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
@each_kind
def test_either_training_continues_the_checkpoint_of_the_other(name, first, second, optimizer):
    whole, rest = masked(name, **OPTIMIZERS[optimizer]), second(name, **OPTIMIZERS[optimizer])
    _, [state] = train(first(name, **OPTIMIZERS[optimizer]))
    rest.load([state])
    train(whole), train(rest)
    assert_same(rest.weights()[0], whole.weights()[0], 1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@each_kind
def test_a_checkpoint_continues_to_the_same_bits(name, dtype, optimizer):
    whole, rest = (sparse(name, dtype, **OPTIMIZERS[optimizer]) for _ in range(2))
    rows, [state] = train(whole)
    rest.load([state])
    rest_rows, _ = train(rest)
    assert_same(rest.weights()[0], whole.weights()[0], 0.0)
    assert rest_rows == rows[1:]


@each_kind
def test_a_training_that_diverges_is_noticed_at_its_iteration(name):
    found = []
    for make in (masked, sparse):
        with pytest.raises(RunError, match="not finite at iteration") as error:
            train(make(name, momentum=0.9, **DIVERGES[name]))
        found.append(str(error.value))
    assert found[0] == found[1]


@pytest.mark.parametrize(("name", "kept"), [("lenet_5_caffe", 2e-5), ("lstm", 1e-3), ("gru", 1e-3)])
def test_a_network_of_which_almost_nothing_is_kept(name, kept):
    ours, theirs = (make(name, kept=kept, iterations=10) for make in (sparse, masked))
    assert sum(int(keep.sum()) for keep in ours.masks()[0].values()) < 5
    train(ours), train(theirs)
    assert_same(ours.weights()[0], theirs.weights()[0], 1e-9)


@pytest.mark.parametrize("name", ["lenet_300_100", "lstm"])
def test_the_last_batch_of_an_evaluation_may_be_smaller_than_the_others(name):
    ours, theirs = sparse(name), masked(name)
    for split, count in ((ours.data.validation, 33), (ours.data.test, 41)):
        assert len(split) == count
    assert ours.evaluate(ours.data.test)[0] == pytest.approx(theirs.evaluate(theirs.data.test)[0], abs=1e-9)


def without_candidates(name):
    """A network without biases, of whose units some have no candidate, and its mask."""
    model, mask = pruned(name, 0.5, torch.float64)
    mask |= {key: torch.zeros_like(keep) for key, keep in mask.items() if "bias" in key}
    for key in ("recurrent.weight_ih_l0", "recurrent.weight_hh_l0"):
        mask[key].unflatten(0, (-1, model.recurrent.hidden_size))[CANDIDATE, :7] = False
    return model, mask


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_units_that_stay_at_zero_are_left_out_and_their_weights_decay(name):
    changes = {"momentum": 0.9, "weight_decay": 5e-3}
    (model, mask), (other, same) = without_candidates(name), without_candidates(name)
    FixedMask(model, mask)
    network = sparse_network(model, mask, SHAPE, BATCH)
    assert network.tables.sizes.units == model.recurrent.hidden_size - 7
    assert len(network.weights) == sum(int(keep.sum()) for keep in mask.values())
    ours = SparseTrainer(model, network, mask, data_of(), settings(**changes), SEED)
    theirs = Trainer(other, FixedMask(other, same), data_of(), settings(**changes), SEED)
    train(ours), train(theirs)
    assert_same(ours.weights()[0], theirs.weights()[0], 1e-9)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_batch_of_several_tiles(name, monkeypatch):
    monkeypatch.setattr(recurrent, "LARGEST_TILE", 1)
    ours, theirs = (make(name, iterations=10, momentum=0.9) for make in (sparse, masked))
    assert len(ours.network.tables.tiles) == 2
    train(ours), train(theirs)
    assert_same(ours.weights()[0], theirs.weights()[0], 1e-9)
    assert ours.evaluate(ours.data.test)[0] == pytest.approx(theirs.evaluate(theirs.data.test)[0], abs=1e-9)


@each_kind
def test_trainings_in_threads_are_those_one_after_another(name):
    alone, beside, other = (sparse(name, momentum=0.9, iterations=30, learning_rate=rate) for rate in (0.1, 0.1, 0.2))
    train(alone)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(train, (beside, other)))
    assert_same(beside.weights()[0], alone.weights()[0], 0.0)
