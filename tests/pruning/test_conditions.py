"""prune() and networks whose forward pass changes, draws or rounds something."""

import copy
import random

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import snip_cli
from snip_cli import registry
from snip_cli.errors import ConfigError


class Counting(nn.Module):
    """Buffers of every kind and plain attributes, all of which the forward pass changes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("mean", torch.full((4,), float("nan")))
        self.register_buffer("last", None)
        self.register_buffer("history", torch.zeros(0))
        self.calls, self.cache = 0, None

    def forward(self, x):
        self.seen += len(x)
        self.passes = self.passes + 1
        self.mean.data.mul_(0.9)
        self.history.resize_(len(self.history) + 1)
        self.calls += 1
        self.last = self.cache = self.layer(x)
        self.register_buffer("new", x.mean())
        self.layer.weight.data.clamp_(-0.1, 0.1)
        return self.last


def batch_of(*shape, classes=4):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, generator=generator), torch.randint(classes, shape[:1], generator=generator)


def content(model):
    """Everything that can be told of a model: tensors by name, their identity, and the plain attributes."""
    tensors = [(name, id(tensor), copy.deepcopy(tensor)) for name, tensor in model.named_buffers()]
    tensors += [(name, id(tensor), tensor.detach().clone()) for name, tensor in model.named_parameters()]
    keys = [list(module._buffers) + list(vars(module)) for module in model.modules()]
    plain = [{k: v for k, v in vars(m).items() if isinstance(v, int | float | None)} for m in model.modules()]
    return tensors, keys, plain


def assert_same(found, expected):
    assert found[1:] == expected[1:]
    for (name, identity, tensor), (old_name, old_identity, old) in zip(found[0], expected[0], strict=True):
        assert (name, identity) == (old_name, old_identity)
        torch.testing.assert_close(tensor, old, rtol=0, atol=0, equal_nan=True)


NETWORKS = {
    "counters": Counting,
    "old spectral_norm elsewhere": lambda: nn.Sequential(
        nn.utils.spectral_norm(nn.ConvTranspose1d(8, 8, 1)).requires_grad_(False), nn.Flatten(), nn.Linear(8, 4)
    ),
    "spectral_norm": lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)), nn.ReLU(), nn.Linear(8, 4)
    ),
    "instance-norm": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 4)), nn.InstanceNorm1d(2, track_running_stats=True), nn.Flatten(), nn.Linear(8, 4)
    ),
}


def make(name):
    torch.manual_seed(0)
    model = NETWORKS[name]()
    return model, batch_of(16, *((8, 1) if name.startswith("old") else (8,)))


def failing(outputs, labels):
    raise ZeroDivisionError


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("method", ["snip", "magnitude"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_model_is_left_as_it_was(name, method):
    model, batch = make(name)
    before = content(model)
    snip_cli.prune(model, batch, F.cross_entropy, method=method, sparsity=0.5)
    assert_same(content(model), before)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_the_model_is_left_as_it_was_when_the_loss_raises(name):
    model, batch = make(name)
    before = content(model)
    with pytest.raises(ZeroDivisionError):
        snip_cli.prune(model, batch, failing, sparsity=0.5)
    assert_same(content(model), before)


def test_an_embedding_that_renormalises_itself_keeps_its_weight():
    model = nn.Sequential(nn.Embedding(9, 8, max_norm=0.5), nn.Flatten(), nn.Linear(24, 4))
    before = model[0].weight.detach().clone()
    batch = torch.randint(9, (16, 3)), torch.randint(4, (16,))
    snip_cli.prune(model, batch, F.cross_entropy, prunable=["2.*"])
    assert torch.equal(model[0].weight, before)


def test_gradients_stay_even_if_a_users_method_runs_backward(monkeypatch):
    def backward(model, batches, loss, generator):
        [(inputs, labels)] = batches
        loss(model(inputs), labels).backward()
        return {name: p.detach().abs() for name, p in model.named_parameters()}

    monkeypatch.setitem(registry.methods._functions, "backward", backward)
    model = nn.Linear(8, 4)
    snip_cli.prune(model, batch_of(16, 8), F.cross_entropy, method="backward")
    assert model.weight.grad is None


def test_a_graph_of_the_callers_is_still_good_after_it():
    model, batch = make("spectral_norm")
    value = F.cross_entropy(model(batch[0]), batch[1])
    snip_cli.prune(model, batch, F.cross_entropy)
    value.backward()
    assert model[2].weight.grad.any()


def test_a_network_with_a_sparse_buffer_is_pruned():
    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 4)
            self.register_buffer("adjacency", torch.eye(16).to_sparse())

        def forward(self, x):
            return self.adjacency @ self.layer(x)

    assert snip_cli.prune(Graph(), batch_of(16, 8), F.cross_entropy)["layer.weight"].any()


class Noisy(nn.Module):
    """Draws in every way that a forward pass can."""

    def __init__(self):
        super().__init__()
        self.layer, self.out, self.generator = nn.Linear(8, 64), nn.Linear(64, 4), torch.Generator()

    def forward(self, x):
        own = torch.rand(8, generator=self.generator)
        foreign = torch.tensor(numpy.random.rand(8), dtype=x.dtype)
        hidden = self.layer(x * own * foreign * random.uniform(0.5, 2)) + torch.randn(64)
        return self.out(F.rrelu(hidden, training=self.training))


class OwnNoise(nn.Module):
    """Draws from generators of its own, of NumPy and Python."""

    def __init__(self):
        super().__init__()
        self.layer, self.numpys, self.python = nn.Linear(8, 4), numpy.random.default_rng(0), random.Random(0)
        self.older = numpy.random.RandomState(0)

    def forward(self, x):
        drawn = self.numpys.random(8) + self.older.rand(8) + self.python.random()
        return self.layer(x * torch.tensor(drawn, dtype=x.dtype))


def dropout(layer=nn.Dropout):
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), layer(), nn.Linear(64, 4))


class NoisyWeight(nn.Module):
    def forward(self, weight):
        return weight * torch.rand_like(weight)


def noisy_weight():
    return nn.utils.parametrize.register_parametrization(nn.Linear(8, 4), "weight", NoisyWeight())


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(4, 6, 2, batch_first=True, dropout=0.5), nn.Linear(6, 4)

    def forward(self, x):
        return self.out(self.lstm(x.view(-1, 2, 4))[0][:, -1])


DRAWING = {
    "dropout": dropout,
    "alpha dropout": lambda: dropout(nn.AlphaDropout),
    "rrelu": lambda: dropout(nn.RReLU),
    "noise": Noisy,
    "noise of its own generators": OwnNoise,
    "noise on a weight": noisy_weight,
    "recurrent dropout": Tagger,
}


def global_states():
    numpys = numpy.random.get_state()
    return (
        random.getstate(),
        [part.tolist() if hasattr(part, "tolist") else part for part in numpys],
        torch.get_rng_state(),
    )


@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("name", DRAWING)
def test_the_same_call_gives_the_same_mask_and_moves_no_global_generator(name, seed):
    model, batch = DRAWING[name](), batch_of(16, 8)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    masks = []
    for other in range(2):
        for kind in (torch.manual_seed, random.seed, numpy.random.seed):
            kind(other)
        before = global_states()
        masks.append(snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.5, generator=generator))
        after = global_states()
        assert before[:2] == after[:2]
        assert torch.equal(before[2], after[2])
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def test_another_generator_is_another_draw_of_dropout():
    torch.manual_seed(0)
    model, batch = dropout(), batch_of(16, 8)
    masks = [
        snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.5, generator=torch.Generator().manual_seed(seed))
        for seed in range(2)
    ]
    assert not torch.equal(masks[0]["3.weight"], masks[1]["3.weight"])


def test_the_global_generators_are_put_back_when_the_loss_raises():
    model = dropout()
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        snip_cli.prune(model, batch_of(16, 8), failing)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_on_another_device_is_refused():
    class Elsewhere(torch.Generator):
        device = torch.device("cuda")

    with pytest.raises(ConfigError, match=r"generator must be on the CPU.*got one on cuda"):
        snip_cli.prune(dropout(), batch_of(16, 8), F.cross_entropy, generator=Elsewhere())


def deep(layer=nn.Linear):
    """A network whose first gradients vanish in float16: 12 layers, batch-norm, and weights that are rounded to float16."""
    torch.manual_seed(0)
    layers = [each for _ in range(12) for each in (layer(8, 8), nn.BatchNorm1d(8), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(8, 4))
    return model.half().float()


def normed(inputs, outputs):
    return nn.utils.parametrizations.weight_norm(nn.Linear(inputs, outputs))


LOW = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


@LOW
@pytest.mark.parametrize("make", [deep, Tagger], ids=["deep", "recurrent"])
@pytest.mark.parametrize("scale", [1, 2**16])
@pytest.mark.parametrize("method", ["snip", "magnitude"])
def test_the_mask_of_a_network_in_half_precision_is_that_of_its_weights_in_float32(method, scale, make, dtype):
    model = make().to(dtype)
    exact = copy.deepcopy(model).float()
    inputs, labels = batch_of(16, 8)

    def scaled(outputs, labels):
        return scale * F.cross_entropy(outputs, labels)

    half = snip_cli.prune(model, (inputs.to(dtype), labels), scaled, method=method, sparsity=0.8)
    whole = snip_cli.prune(exact, (inputs.to(dtype).float(), labels), F.cross_entropy, method=method, sparsity=0.8)
    assert all(torch.equal(half[name], whole[name]) for name in whole)
    assert all(tensor.dtype is dtype for tensor in model.state_dict().values() if tensor.is_floating_point())


def test_weights_in_half_precision_are_left_as_they_were():
    model = deep(normed).half()
    before = content(model)
    for method in ("snip", "magnitude"):
        snip_cli.prune(model, batch_of(16, 8), F.cross_entropy, method=method)
        assert_same(content(model), before)
    with pytest.raises(ZeroDivisionError):
        snip_cli.prune(model, batch_of(16, 8), failing)
    assert_same(content(model), before)


def test_targets_in_half_precision_are_compared_in_float32():
    torch.manual_seed(0)
    model = nn.Linear(8, 4).half()
    inputs, targets = torch.randn(16, 8).half(), torch.randn(16, 4).half()
    mask = snip_cli.prune(model, (inputs, targets), F.mse_loss, sparsity=0.5)
    expected = snip_cli.prune(model.float(), (inputs.float(), targets.float()), F.mse_loss, sparsity=0.5)
    assert all(torch.equal(mask[name], expected[name]) for name in expected)


def test_autocast_around_the_call_does_not_round_scores():
    model, batch = deep(), batch_of(16, 8)
    expected = snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.8)
    with torch.autocast("cpu", torch.bfloat16):
        mask = snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.8)
        assert torch.is_autocast_enabled("cpu")
    assert all(torch.equal(mask[name], expected[name]) for name in expected)


def test_a_loss_that_is_scaled_up_does_not_overflow_the_sum_of_scores():
    torch.manual_seed(0)
    model, batch = nn.Linear(8, 400), batch_of(16, 8)
    masks = [
        snip_cli.prune(model, batch, lambda outputs, _, scale=scale: scale * outputs.sum(1).mean(), sparsity=0.5)
        for scale in (1, 2.0**123)
    ]
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])
