"""What every registered method that scores connections, or finds a mask of a new network, must do on every small network that it fits."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli import registry
from snip_cli.errors import ConfigError, RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.method import Biases, Gives, Stage, find_method
from snip_cli.run.python import prune
from tests.pruning.states import disturb, equal, state_of

METHODS = [find_method(name) for name in registry.methods.names()]
SCORING = [method.name for method in METHODS if method.gives is Gives.SCORES]
AT_INIT = [method.name for method in METHODS if method.stage is Stage.AT_INIT]
every_method = pytest.mark.parametrize("method", sorted({*SCORING, *AT_INIT}))


@pytest.fixture
def network(network, request):
    """Each of the networks, without those that the method refuses."""
    name = request.node.callspec.params.get("method")
    method = find_method(name) if name else None
    if method and method.check:
        try:
            method.check(network, torch.empty(1, 1, 8, 8), method.options())
        except ConfigError as refusal:
            pytest.skip(str(refusal))
    return network


def generator():
    return torch.Generator().manual_seed(3)


@every_method
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.97])
def test_exactly_kappa_parameters_are_kept(method, sparsity, network, batch):
    parameters = prunable_parameters(network).values()
    kept = round(sum(p.numel() for p in parameters) * (1 - sparsity))
    if find_method(method).biases is Biases.KEPT and kept < sum(p.numel() for p in parameters if p.dim() == 1):
        with pytest.raises(ConfigError, match=f"but method '{method}' keeps all .* biases: choose at most"):
            prune(network, batch, F.cross_entropy, method=method, sparsity=sparsity)
        return
    mask = prune(network, batch, F.cross_entropy, method=method, sparsity=sparsity)
    assert sum(int(keep.sum()) for keep in mask.values()) == kept
    assert all(keep.all() for keep in mask.values() if keep.dim() == 1) or find_method(method).biases is Biases.SCORED


@pytest.mark.parametrize("method", [m for m in SCORING + AT_INIT if find_method(m).biases is Biases.KEPT])
def test_a_method_that_keeps_biases_can_keep_nothing_else(method, network, batch):
    parameters = prunable_parameters(network).values()
    biases = sum(p.numel() for p in parameters if p.dim() == 1)
    sparsity = 1 - biases / sum(p.numel() for p in parameters)
    mask = prune(network, batch, F.cross_entropy, method=method, sparsity=sparsity)
    assert all(keep.all() if keep.dim() == 1 else not keep.any() for keep in mask.values())


@every_method
def test_the_mask_is_bool_and_has_the_shape_of_every_prunable_parameter(method, network, batch):
    mask = prune(network, batch, F.cross_entropy, method=method, sparsity=0.5)
    expected = {name: p.shape for name, p in prunable_parameters(network).items()}
    assert list(mask) == list(expected)
    assert {name: keep.shape for name, keep in mask.items()} == expected
    assert all(keep.dtype == torch.bool for keep in mask.values())


@pytest.mark.parametrize("method", SCORING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_score_is_a_finite_number_and_needs_no_gradient(method, dtype, network, batch):
    batches = [(batch[0].to(dtype), batch[1])] * 2
    chosen = find_method(method)
    scores = chosen.function(network.to(dtype), batches, F.cross_entropy, generator(), chosen.options())
    assert all(torch.isfinite(score).all() and not score.requires_grad for score in scores.values())


@every_method
def test_the_same_generator_gives_the_same_mask_whatever_the_global_one_holds(method, network, batch):
    masks = []
    for seed in range(2):
        torch.manual_seed(seed)
        masks.append(prune(network, batch, F.cross_entropy, method=method, sparsity=0.5, generator=generator()))
    assert equal(*masks)


@every_method
def test_pruning_leaves_the_model_and_the_global_generator_alone(method, network, batch):
    disturb(network)
    (tensors, flags), random_state = state_of(network), torch.get_rng_state()
    prune(network, batch, F.cross_entropy, method=method, sparsity=0.5)
    tensors_after, flags_after = state_of(network)
    assert flags_after == flags
    assert equal(tensors_after, tensors)
    assert torch.equal(torch.get_rng_state(), random_state)


@every_method
def test_pruning_leaves_the_batch_alone(method, network, batch):
    before = copy.deepcopy(batch)
    prune(network, batch, F.cross_entropy, method=method, sparsity=0.5)
    assert all(torch.equal(now, then) for now, then in zip(batch, before, strict=True))


@every_method
def test_a_frozen_parameter_is_not_pruned(method, network, batch):
    frozen = next(iter(prunable_parameters(network)))
    network.get_parameter(frozen).requires_grad_(False)
    assert frozen not in prune(network, batch, F.cross_entropy, method=method, sparsity=0.5)


@every_method
def test_an_unknown_option_is_refused(method, network, batch):
    with pytest.raises(ConfigError, match=f"method '{method}' has no option 'colour'"):
        prune(network, batch, F.cross_entropy, method=method, sparsity=0.5, colour="red")


def test_random_masks_differ_between_generators_and_keep_no_favourites(network, batch):
    def random_mask(seed):
        drawn = torch.Generator().manual_seed(seed)
        mask = prune(network, batch, F.cross_entropy, method="random", sparsity=0.5, generator=drawn)
        return torch.cat([keep.flatten() for keep in mask.values()])

    masks = torch.stack([random_mask(seed) for seed in range(200)]).double()
    # The share of masks that keep a connection has a standard deviation of 0.035.
    assert (masks.mean(dim=0) - 0.5).abs().max() < 5 * 0.036


def test_magnitude_keeps_the_largest_weights_of_the_whole_network():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    values = [[0.1, -0.9], [0.3, 0.0]], [[-0.8, 0.2]]
    for layer, value in zip(model, values, strict=True):
        layer.weight.data = torch.tensor(value)
        nn.init.zeros_(layer.bias)
    batch = torch.ones(1, 2), torch.zeros(1, 1)
    mask = prune(model, batch, F.mse_loss, method="magnitude", sparsity=2 / 3)
    assert mask["0.weight"].tolist() == [[False, True], [True, False]]
    assert mask["1.weight"].tolist() == [[True, False]]
    assert not mask["0.bias"].any() and not mask["1.bias"].any()


def test_a_single_batch_is_a_list_of_one(network, batch):
    listed = prune(network, [batch], F.cross_entropy)
    assert equal(prune(network, batch, F.cross_entropy), listed)


def test_an_unknown_method_is_refused_with_the_nearest_name(network, batch):
    with pytest.raises(ConfigError, match="There is no method 'snap' \\(did you mean 'snip'\\?\\)"):
        prune(network, batch, F.cross_entropy, method="snap")


def test_a_model_without_anything_to_prune_is_refused(batch):
    with pytest.raises(ConfigError, match="no convolution, linear or recurrent layer"):
        prune(nn.Sequential(nn.Flatten(), nn.LayerNorm(64).double()), batch, F.cross_entropy)


def test_a_loss_that_is_not_finite_is_told_as_scores_that_are_not(network, batch):
    with pytest.raises(RunError, match="are not finite"):
        prune(network, batch, lambda outputs, labels: F.cross_entropy(outputs, labels) * torch.nan)


@pytest.mark.parametrize("spoil", [dict.popitem, lambda scores: scores.update({next(iter(scores)): torch.ones(1)})])
def test_a_method_that_leaves_out_scores_is_refused(spoil, network, batch, monkeypatch):
    def incomplete(model, batches, loss, generator):
        scores = {name: p.detach() for name, p in prunable_parameters(model).items()}
        spoil(scores)
        return scores

    monkeypatch.setitem(registry.methods._functions, "incomplete", incomplete)
    with pytest.raises(ConfigError, match="method 'incomplete' does not fit this model: it gives no scores of shape"):
        prune(network, batch, F.cross_entropy, method="incomplete")
