"""A network whose convolutions work on padded planes does what the model does, forwards, backwards and in training."""

import copy
import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli.errors import RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.models.tensorflow import SameConv2d, batch_norm_1d, batch_norm_2d
from snip_cli.models.wide_resnet import WideResNet
from snip_cli.pruning.pruner import FixedMask
from snip_cli.training.sparse.normalised import has_form
from snip_cli.training.sparse.planes.network import PlanesNetwork
from snip_cli.training.trainer import Forward, Trainer
from tests.training.sparse.small import BATCH, OPTIMIZERS, SEED, SHAPE, assert_same, data_of, settings, train


def chain():
    """Two kinds of kernels, pooling of even and of odd sides, and linear layers with batch-norm."""

    def block(channels, width, kernel):
        return SameConv2d(channels, width, kernel), batch_norm_2d(width), nn.ReLU()

    return nn.Sequential(
        *(*block(1, 6, 3), *block(6, 8, 3), nn.MaxPool2d(2, ceil_mode=True), *block(8, 7, 1), *block(7, 9, 3)),
        *(nn.MaxPool2d(2), *block(9, 5, 3), nn.MaxPool2d(4, 3), *block(5, 6, 3), nn.MaxPool2d(2, ceil_mode=True)),
        *(nn.Flatten(), nn.Linear(6, 12), batch_norm_1d(12), nn.ReLU(), nn.Linear(12, 10)),
    )


NETWORKS = {"chain": chain, "wide": lambda: WideResNet("wide", SHAPE, 10, depth=10, widening=1)}
each_network = pytest.mark.parametrize("name", NETWORKS)


def pruned(name, dtype=torch.float64):
    """A network and a mask that keeps enough of each third layer to leave it dense."""
    torch.manual_seed(SEED)
    model = NETWORKS[name]().to(dtype, memory_format=torch.channels_last)
    mask = {
        key: torch.rand(parameter.shape) < (0.6 if number % 6 == 2 else 0.15)
        for number, (key, parameter) in enumerate(prunable_parameters(model).items())
    }
    FixedMask(model, mask)
    return model, mask


def on_planes(model, mask):
    return PlanesNetwork(model, mask, SHAPE, BATCH)


def training(name, *, sparse, dtype=torch.float64, **changes):
    model, mask = pruned(name, dtype)
    forward = Forward(model, network=on_planes(model, mask) if sparse else None)
    return Trainer(model, FixedMask(model, mask), data_of(dtype), settings(**changes), SEED, forward=forward)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("images", [3, 16, BATCH])
@each_network
def test_outputs_gradients_and_statistics_are_those_of_the_model(name, images, threads):
    model, mask = pruned(name)
    ours = copy.deepcopy(model)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        network = on_planes(ours, mask)
        assert 0 < len(network.sparse) < sum(isinstance(layer, nn.Conv2d) for layer in model.modules())
        images_NCHW, labels = torch.randn(images, *SHAPE, dtype=torch.float64), torch.arange(images) % 10
        for apply in (model, network):
            F.cross_entropy(apply(images_NCHW), labels).backward()
    finally:
        torch.set_num_threads(before)
    for key, parameter in model.named_parameters():
        keep = mask.get(key, torch.ones(()))
        torch.testing.assert_close(
            ours.get_parameter(key).grad * keep, parameter.grad * keep, rtol=1e-9, atol=1e-12, msg=key
        )
    assert_same(dict(ours.named_buffers()), dict(model.named_buffers()), 1e-12)
    model.eval(), ours.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images_NCHW), model(images_NCHW), rtol=1e-9, atol=1e-12)


@each_network
def test_more_images_than_a_batch_are_evaluated_in_pieces(name):
    model, mask = pruned(name)
    network = on_planes(model, mask)
    images_NCHW = torch.randn(2 * BATCH + 3, *SHAPE, dtype=torch.float64)
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images_NCHW), model(images_NCHW), rtol=1e-9, atol=1e-12)


@each_network
def test_making_it_leaves_the_model_as_it_was(name):
    model, mask = pruned(name)
    before = copy.deepcopy(model.state_dict())
    on_planes(model, mask)
    assert_same(model.state_dict(), before, 0)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    "name, optimizer, smoothing",
    [("chain", "Nesterov", 0.0), ("chain", "Adam", 0.0), ("chain", "Nesterov", 0.3), ("wide", "Nesterov", 0.0)],
)
def test_a_hundred_iterations_are_those_of_the_masked_training(name, optimizer, smoothing):
    changes = OPTIMIZERS[optimizer] | {"label_smoothing": smoothing}
    ours, theirs = (training(name, sparse=sparse, **changes) for sparse in (True, False))
    (our_rows, our_states), (their_rows, their_states) = train(ours), train(theirs)
    assert_same(ours.weights()[0], theirs.weights()[0], 1e-9)
    for one, other in zip(our_rows, their_rows, strict=True):
        assert one == pytest.approx(other, abs=1e-9, nan_ok=True)
    assert_same(our_states[0]["model"], their_states[0]["model"], 1e-9)


@each_network
def test_in_single_precision_the_weights_differ_by_rounding(name):
    few = {"iterations": 2, "learning_rate": 0.01}
    ours, theirs = (training(name, sparse=sparse, dtype=torch.float32, **few) for sparse in (True, False))
    train(ours), train(theirs)
    assert_same(ours.weights()[0], theirs.weights()[0], 1e-5)


@each_network
def test_a_resumed_training_ends_in_the_same_bits(name):
    whole = training(name, sparse=True)
    _, states = train(whole)
    resumed = training(name, sparse=True)
    resumed.load([states[0]])
    train(resumed)
    assert_same(resumed.weights()[0], whole.weights()[0], 0)


def test_a_training_that_diverges_is_noticed():
    with pytest.raises(RunError, match="not finite"):
        train(training("chain", sparse=True, learning_rate=1e30))


def test_other_networks_have_no_such_form():
    assert has_form(chain())
    assert not has_form(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))
    assert not has_form(nn.Sequential(SameConv2d(1, 2, 3), batch_norm_2d(2), nn.Tanh()))
    assert not has_form(nn.Sequential(SameConv2d(1, 2, 3), batch_norm_2d(2), nn.MaxPool2d(2)))
    assert not has_form(nn.Sequential(SameConv2d(1, 2, 3), SameConv2d(2, 2, 3), batch_norm_2d(2), nn.ReLU()))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model[0].weight.requires_grad_(False),
        lambda model: model[1].bias.requires_grad_(False),
        lambda model: setattr(model[1], "momentum", None),
        lambda model: setattr(model[0], "bias", None),
        lambda model: model.__setitem__(1, nn.BatchNorm2d(6, affine=False)),
        lambda model: model.__setitem__(1, nn.BatchNorm2d(6, track_running_stats=False)),
        lambda model: model.__setitem__(2, type("Own", (nn.ReLU,), {})()),
    ],
)
def test_a_chain_with_parts_that_the_operations_do_not_know_has_no_such_form(change):
    model = chain()
    change(model)
    assert not has_form(model)


def test_a_subclass_may_compute_something_else():
    assert not has_form(type("Own", (nn.Sequential,), {})(*chain()))
    assert not has_form(type("Own", (WideResNet,), {})("own", SHAPE, 10, depth=10, widening=1))


def test_a_network_is_freed_without_a_collection_of_garbage():
    gc.disable()
    try:
        trained = training("chain", sparse=True, iterations=2)
        train(trained)
        gone = weakref.ref(trained)
        del trained
        assert gone() is None
    finally:
        gc.enable()
