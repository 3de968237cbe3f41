"""Sparse variational dropout against numerical integration and against noise that is drawn on the weights."""

import math

import pytest
import torch
from torch import nn

from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.models.tensorflow import SameConv2d
from snip_cli.pruning.during_training.sparse_vd import kl_divergence
from snip_cli.pruning.method import find_method
from snip_cli.pruning.pruner import Plan
from snip_cli.training.trainer import Trainer
from tests.conftest import Recurrent, convolution, perceptron
from tests.pruning.states import equal
from tests.training.trainings import SEED, as_a_run_holds_it, random_data, schedule_of, train

SPARSE_VD = find_method("sparse_vd")


@pytest.fixture(params=[perceptron, convolution], ids=["perceptron", "convolution"])
def network(request):
    torch.manual_seed(1)
    return request.param().double()


def pruner_of(model, kept=None, schedule=None, images=30, **options):
    plan = Plan(kept, schedule or schedule_of(), torch.Generator(), images=images)
    return SPARSE_VD.function(model, plan, SPARSE_VD.read_options(options))


def weights_of(model):
    return {name: p for name, p in prunable_parameters(model).items() if p.dim() > 1}


def integrated_kl(log_alpha):
    """E log|w| - ½ log α for w ~ N(1, α), up to a constant that makes the KL vanish where α is infinite."""
    α = math.exp(log_alpha)
    # On a logarithmic scale on both sides of zero, because the integrand is infinite at zero.
    t = torch.linspace(-30, math.log(1 + 12 * math.sqrt(α)), 400_001, dtype=torch.float64)
    w = t.exp()
    density = sum((-((side * w - 1) ** 2) / (2 * α)).exp() for side in (1, -1)) / math.sqrt(2 * math.pi * α)
    expectation = torch.trapezoid(t * density * w, t).item()
    at_infinity = -(math.log(2) + 0.5772156649015329) / 2  # E log|z| for z ~ N(0, 1)
    return expectation - 0.5 * log_alpha - at_infinity


@pytest.mark.parametrize("log_alpha", [-6.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0, 8.0])
def test_the_kl_is_that_of_numerical_integration(log_alpha):
    approximation = kl_divergence(torch.tensor(log_alpha, dtype=torch.float64)).item()
    assert approximation == pytest.approx(integrated_kl(log_alpha), abs=0.011)


def test_the_integration_is_right_where_the_kl_is_known():
    """For a small α, log|w| is about (w - 1) - (w - 1)²/2 - …, whose expectation is -α/2 - 3α²/4."""
    α, constant = 1e-3, (math.log(2) + 0.5772156649015329) / 2
    assert integrated_kl(math.log(α)) == pytest.approx(-α / 2 - 0.75 * α**2 - 0.5 * math.log(α) + constant, abs=1e-7)


def test_noise_on_the_outputs_has_the_mean_and_the_variance_of_noise_on_the_weights(network):
    model = as_a_run_holds_it(network)
    layer = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    layer.weight.data[layer.weight.abs() < 0.05] = 0.05  # smaller ones would be mostly noise
    shape = (2, 1, 8, 8) if isinstance(layer, nn.Conv2d) else (2, 64)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    clean = layer(images).detach()
    pruner = pruner_of(model, log_variance=-5.0)
    seen, draws = pruner.weights(), 4000
    name = next(name for name, weight in weights_of(model).items() if weight is layer.weight)
    torch.testing.assert_close(seen[name], layer.weight)  # nothing is pruned
    torch.manual_seed(3)
    with torch.no_grad():
        local = torch.stack([layer(images) for _ in range(draws)])
        layer.eval()
        torch.testing.assert_close(layer(images), clean, rtol=0, atol=0)
        weight, noisy = layer.weight.clone(), []
        for _ in range(draws):
            layer.weight.copy_(weight + math.exp(-2.5) * torch.randn_like(weight))
            noisy.append(layer(images))
    expected = torch.stack(noisy)
    spread = expected.std(dim=0)
    assert ((local.mean(dim=0) - expected.mean(dim=0)).abs() < 6 * spread * math.sqrt(2 / draws)).all()
    assert (local.std(dim=0) / spread - 1).abs().max() < 6 / math.sqrt(draws)


def test_the_kl_comes_in_gradually_and_is_divided_by_the_number_of_images(network):
    pruner = pruner_of(as_a_run_holds_it(network), schedule=schedule_of(iterations=200), images=50)
    pruner.weights()
    penalties = []
    for iteration in range(31):
        penalties.append(pruner.penalty().item())
        pruner.after_step(iteration + 1)
    full = sum(
        kl_divergence((-10 - (w**2 + 1e-8).log()).clamp(-8, 8)).sum().item() for w in weights_of(network).values()
    )
    expected = [full / 50 * min(max((i - 5) / 15, 0), 1) for i in range(31)]
    assert penalties == pytest.approx(expected, rel=1e-9)


def test_a_weight_that_is_mostly_noise_is_zero_in_the_forward_pass_and_pruned(network):
    model = as_a_run_holds_it(network)
    pruner = pruner_of(model)
    expected = {name: 2 * w.abs().log() > -13 for name, w in weights_of(model).items()}  # log σ² is -10
    assert sum(int((~keep).sum()) for keep in expected.values()) > 0
    for name, seen in pruner.weights().items():
        assert torch.equal(seen != 0, expected[name])
        assert torch.equal(pruner.mask[name], expected[name])
    pruner.finish()
    assert all(torch.equal(w != 0, expected[name]) for name, w in weights_of(model).items())
    assert pruner.facts()["kept_found"] == sum(int(keep.sum()) for keep in pruner.mask.values())


def test_of_a_given_sparsity_the_weights_with_the_least_noise_are_kept(network):
    model = as_a_run_holds_it(network)
    biases = sum(p.numel() for p in prunable_parameters(model).values() if p.dim() == 1)
    size = torch.cat([w.detach().abs().flatten() for w in weights_of(model).values()])
    smallest = size.sort(descending=True).values[19]  # all variances are equal
    pruner = pruner_of(model, kept=biases + 20)
    pruner.finish()
    assert all(torch.equal(pruner.mask[name], w.abs() >= smallest) for name, w in weights_of(model).items())
    assert all(keep.all() for keep in pruner.mask.values() if keep.dim() == 1)


def test_variances_follow_the_rate_of_the_schedule_and_do_not_decay(network):
    model = as_a_run_holds_it(network)
    trainer = Trainer(model, pruner_of(model), random_data(), schedule_of(), SEED)
    group = trainer.optimizer.param_groups[-1]
    assert group["weight_decay"] == 0.0
    train(trainer)
    assert group["lr"] == trainer.schedule.rate_at(29)


def test_the_noise_is_gone_after_training(network):
    model = as_a_run_holds_it(network)
    train(Trainer(model, pruner_of(model), random_data(), schedule_of(), SEED))
    images = random_data().test.images[:8]
    model.train()
    outputs = [model(images) for _ in range(2)]
    assert torch.equal(*outputs)


def test_going_on_from_a_checkpoint_gives_the_same_facts(network):
    def trainer():
        model = as_a_run_holds_it(network)
        return Trainer(model, pruner_of(model), random_data(), schedule_of(checkpoint_every=11), SEED)

    unbroken = trainer()
    _, states = train(unbroken)
    torch.manual_seed(0)
    resumed = trainer()
    resumed.load([states[0]])
    train(resumed)
    assert resumed.facts() == unbroken.facts()
    assert equal(resumed.masks()[0], unbroken.masks()[0])


@pytest.mark.parametrize(
    ("model", "name"),
    [(Recurrent, "lstm.weight_ih_l0"), (lambda: nn.Sequential(nn.ConvTranspose2d(1, 2, 3)), "0.weight")],
)
def test_layers_without_local_noise_are_refused_in_one_sentence(model, name):
    with pytest.raises(ConfigError) as error:
        SPARSE_VD.check(model().to("meta"), torch.empty(1, 1, 8, 8, device="meta"), SPARSE_VD.options())
    assert (
        str(error.value)
        == f"method 'sparse_vd' needs PyTorch's own linear layers and convolutions, and '{name}' belongs to no such layer: choose another model or method."
    )


def test_a_convolution_with_padding_of_its_own_has_the_noise_of_its_padded_inputs():
    torch.manual_seed(2)
    same, padded = SameConv2d(2, 3, 3).double(), nn.Conv2d(2, 3, 3, padding=1).double()
    padded.load_state_dict(same.state_dict())
    outputs = []
    for layer in (same, padded):
        model = nn.Sequential(layer)
        pruner_of(model)
        torch.manual_seed(3)
        outputs.append(model(torch.ones(2, 2, 5, 5, dtype=torch.float64)))
    torch.testing.assert_close(outputs[0], outputs[1])


def test_a_convolution_with_a_forward_pass_of_its_own_is_refused():
    class Own(nn.Conv2d):
        def forward(self, images_NCHW):
            return super().forward(images_NCHW.flip(3))

    with pytest.raises(ConfigError, match=r"PyTorch's own linear layers and convolutions, and '0\.weight'"):
        SPARSE_VD.check(nn.Sequential(Own(1, 2, 3)), torch.zeros(1, 1, 8, 8), SPARSE_VD.options())
