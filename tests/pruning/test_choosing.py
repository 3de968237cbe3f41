"""What every registered method that chooses the mask of a trained network must do, on every small network. Others: test_methods.py."""

import copy

import pytest
import torch
import torch.nn.functional as F

from snip_cli import registry
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.method import Gives, Stage, find_method
from snip_cli.run.python import prune
from tests.conftest import Recurrent, convolution, perceptron

METHODS = [find_method(name) for name in registry.methods.names()]
CHOOSING = [
    method.name
    for method in METHODS
    if method.gives is Gives.MASK and method.stage is Stage.AFTER_TRAINING and not method.rounds
]
every_method = pytest.mark.parametrize("method", CHOOSING)


@pytest.fixture(params=[perceptron, convolution])
def network(request):
    torch.manual_seed(1)
    return request.param().double()


@pytest.fixture
def batch():
    """Enough images for the trees, a third of them each."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(48, 1, 8, 8, generator=generator, dtype=torch.float64), torch.arange(48) % 4


def pruned(model, batch, method, sparsity=0.5, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return prune(model, batch, F.cross_entropy, method=method, sparsity=sparsity, generator=generator)


def removed(mask):
    return sum(int((~keep).sum()) for keep in mask.values())


@every_method
@pytest.mark.parametrize("sparsity", [0.0, 0.05, 0.2, 0.9])
def test_no_more_is_removed_than_asked_for(method, sparsity, network, batch):
    mask = pruned(network, batch, method, sparsity)
    total = sum(keep.numel() for keep in mask.values())
    assert removed(mask) <= total - round(total * (1 - sparsity))


@every_method
def test_more_is_removed_where_more_is_asked_for(method, network, batch):
    assert 0 < removed(pruned(network, batch, method, 0.3)) <= removed(pruned(network, batch, method, 0.6))


@every_method
def test_the_mask_is_bool_and_has_the_shape_of_every_prunable_parameter(method, network, batch):
    mask = pruned(network, batch, method)
    expected = {name: p.shape for name, p in prunable_parameters(network).items()}
    assert list(mask) == list(expected)
    assert {name: keep.shape for name, keep in mask.items()} == expected
    assert all(keep.dtype == torch.bool for keep in mask.values())


@every_method
def test_no_layer_is_emptied(method, network, batch):
    mask = pruned(network, batch, method, 0.99)
    assert all(bool(keep.any()) for name, keep in mask.items() if name.endswith("weight"))


@every_method
def test_the_same_generator_gives_the_same_mask_whatever_the_global_one_holds(method, network, batch):
    masks = []
    for seed in range(2):
        torch.manual_seed(seed)
        masks.append(pruned(network, batch, method))
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


@every_method
def test_pruning_leaves_model_batch_and_global_generator_alone(method, network, batch):
    network[1].eval()
    before = copy.deepcopy((network.state_dict(), [m.training for m in network.modules()], batch))
    random_state = torch.get_rng_state()
    pruned(network, batch, method)
    after = (network.state_dict(), [m.training for m in network.modules()], batch)
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1] == after[1]
    assert all(torch.equal(one, two) for one, two in zip(before[2], after[2], strict=True))
    assert torch.equal(torch.get_rng_state(), random_state)


@every_method
def test_a_recurrent_network_is_refused(method, batch):
    with pytest.raises(ConfigError, match="choose another model"):
        pruned(Recurrent().double(), batch, method)


@pytest.mark.parametrize("method", [name for name in CHOOSING if find_method(name).finds_sparsity])
def test_auto_removes_something(method, network, batch):
    assert removed(pruned(network, batch, method, "auto")) > 0


def test_auto_is_refused_where_the_method_does_not_find_it(network, batch):
    with pytest.raises(
        ConfigError, match=r"sparsity=auto does not work with method 'l1_filter'.*\(mint, snacs, sparse_vd, sws\)"
    ):
        pruned(network, batch, "l1_filter", "auto")


@every_method
def test_an_unknown_option_is_refused(method, network, batch):
    with pytest.raises(ConfigError, match=f"method '{method}' has no option 'colour'"):
        prune(network, batch, F.cross_entropy, method=method, colour="red")
