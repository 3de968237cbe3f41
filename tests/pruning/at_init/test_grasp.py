"""GraSP against the full Hessian and against what removing weights does to the gradient."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import snip_cli
from snip_cli.errors import ConfigError, RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.at_init.grasp import GraspOptions, grasp
from snip_cli.pruning.mask import top_mask

GENERATOR = torch.Generator()


def tiny():
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 3), nn.Tanh(), nn.Linear(3, 4)).double()


@pytest.fixture
def small(batch):
    """The batch, with images of 3×3."""
    return batch[0][..., ::3, ::3], batch[1]


def weights_of(model):
    return {name: p for name, p in prunable_parameters(model).items() if p.dim() > 1}


def squared_gradient(model, batches, temperature=200.0, values=None):
    """‖g‖² of the loss at a temperature, summed over the batches; `values` are other weights."""
    model = copy.deepcopy(model).train()
    total = 0
    weights = {name: value.detach().requires_grad_() for name, value in (values or weights_of(model)).items()}
    for inputs, labels in batches:
        outputs = functional_call(model, weights, (inputs,))
        gradients = torch.autograd.grad(F.cross_entropy(outputs / temperature, labels), list(weights.values()))
        total = total + torch.cat([g.flatten() for g in gradients])
    return float(total.square().sum())


@pytest.mark.parametrize("temperature", [200.0, 1.0])
def test_the_score_is_the_weight_times_the_full_hessian_times_the_gradient(temperature, small):
    model, batches = tiny(), [(small[0][:5], small[1][:5]), (small[0][5:], small[1][5:])]
    weights = weights_of(model)
    sizes = [w.numel() for w in weights.values()]

    def loss(flat):
        parts = zip(weights.items(), flat.split(sizes), strict=True)
        values = {name: part.view_as(w) for (name, w), part in parts}
        return sum(F.cross_entropy(functional_call(model, values, (x,)) / temperature, y) for x, y in batches)

    theta = torch.cat([w.detach().flatten() for w in weights.values()])
    hessian, gradient = torch.autograd.functional.hessian(loss, theta), torch.autograd.functional.jacobian(loss, theta)
    expected = theta * (hessian @ gradient)
    scores = grasp(model, batches, F.cross_entropy, GENERATOR, GraspOptions(temperature))
    torch.testing.assert_close(
        torch.cat([scores[name].flatten() for name in weights]), expected, rtol=1e-9, atol=1e-9 * expected.abs().max()
    )
    assert not any(scores[name].any() for name in scores if name not in weights)


def test_the_weights_with_the_lowest_scores_are_removed_and_leave_the_larger_gradient(network, batch):
    """The sign: without the lowest ‖g‖² is larger than without the highest."""
    scores = grasp(network, [batch], F.cross_entropy, GENERATOR, GraspOptions())
    weights = weights_of(network)
    scores = {name: scores[name] for name in weights}
    for share in (0.05, 0.2):
        kept = round(sum(w.numel() for w in weights.values()) * (1 - share))
        left = {}
        for side, sign in (("highest removed", -1), ("lowest removed", 1)):
            mask = top_mask({name: sign * score for name, score in scores.items()}, kept)
            left[side] = squared_gradient(network, [batch], values={n: w * mask[n] for n, w in weights.items()})
        assert left["lowest removed"] > 1.1 * left["highest removed"]


def test_prune_removes_the_lowest_scores_and_keeps_biases(network, batch):
    scores = grasp(network, [batch], F.cross_entropy, GENERATOR, GraspOptions())
    mask = snip_cli.prune(network, batch, F.cross_entropy, method="grasp", sparsity=0.5)
    assert all(keep.all() for keep in mask.values() if keep.dim() == 1)
    kept, removed = (
        torch.cat([scores[name][keep if side else ~keep] for name, keep in mask.items() if keep.dim() > 1])
        for side in (True, False)
    )
    assert kept.min() >= removed.max()


def test_shrinking_a_weight_changes_the_squared_gradient_by_the_score(small):
    """d‖g‖²/dε of θ_i (1 - ε) is -2 θ_i (Hg)_i."""
    model = tiny()
    scores, weights = grasp(model, [small], F.cross_entropy, GENERATOR, GraspOptions(1.0)), weights_of(model)
    for name, place in (("1.weight", (1, 5)), ("3.weight", (2, 0))):
        changed = {}
        for step in (-1e-4, 1e-4):
            values = {key: w.detach().clone() for key, w in weights.items()}
            values[name][place] *= 1 - step
            changed[step] = squared_gradient(model, [small], 1.0, values)
        slope = (changed[1e-4] - changed[-1e-4]) / 2e-4
        assert slope == pytest.approx(-2 * float(scores[name][place]), rel=1e-5)


def test_batch_norm_is_in_training_mode_and_its_statistics_are_restored(batch):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4)).double()
    model.eval()
    before = copy.deepcopy(model.state_dict())
    modes = []
    model[1].register_forward_pre_hook(lambda module, _: modes.append(module.training))
    scores = grasp(model, [batch], F.cross_entropy, GENERATOR, GraspOptions())
    assert modes == [True, True] and not model[1].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model[1].running_mean += 5.0
    again = grasp(model, [batch], F.cross_entropy, GENERATOR, GraspOptions())
    assert all(torch.equal(again[name], score) for name, score in scores.items())


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.linear = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 4)

    def forward(self, images):
        rows = images.squeeze(1)
        return self.linear(self.attention(rows, rows, rows, need_weights=False)[0].mean(dim=1))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cells, self.linear = kind(8, 6, batch_first=True), nn.Linear(6, 4)

    def forward(self, images):
        return self.linear(self.cells(images.squeeze(1))[0][:, -1])


@pytest.mark.parametrize("make", [Attention, lambda: Recurrent(nn.LSTM), lambda: Recurrent(nn.GRU)])
def test_layers_whose_fast_kernels_have_no_second_derivative_are_scored_too(make, batch):
    torch.manual_seed(0)
    model, single = make(), (batch[0].float(), batch[1])
    scores = grasp(model, [single], F.cross_entropy, GENERATOR, GraspOptions())
    precise = grasp(model.double(), [batch], F.cross_entropy, GENERATOR, GraspOptions())
    for name, score in scores.items():
        torch.testing.assert_close(
            score.double(), precise[name], rtol=1e-3, atol=1e-3 * float(precise[name].abs().max() + 1e-30)
        )
    assert all(score.any() for name, score in precise.items() if score.dim() > 1)


class Pooled(nn.Module):
    """Adds up its activations in pairs by a function of which PyTorch has no second derivative."""

    def __init__(self):
        super().__init__()
        self.first, self.linear = nn.Linear(64, 8), nn.Linear(4, 4)

    def forward(self, images):
        units = self.first(images.flatten(1)).relu()
        pairs = torch.full((4,), 2)
        return self.linear(torch.segment_reduce(units.T.contiguous(), "sum", lengths=pairs).T)


def test_a_model_without_a_second_derivative_is_refused_in_one_sentence(batch):
    with pytest.raises(ConfigError, match="method 'grasp' does not fit this model, which has no second") as refusal:
        snip_cli.prune(Pooled().double(), batch, F.cross_entropy, method="grasp", sparsity=0.5)
    assert "segment_reduce" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_network_of_zeros_cannot_be_ranked(network, batch):
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    with pytest.raises(RunError, match="Every score is zero"):
        grasp(network, [batch], F.cross_entropy, GENERATOR, GraspOptions())


def test_the_temperature_is_the_papers():
    assert GraspOptions().temperature == 200.0
