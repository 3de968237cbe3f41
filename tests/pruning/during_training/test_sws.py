"""Soft weight-sharing: the prior's gradient, and the assignment of weights to components."""

import math

import pytest
import torch
from torch.distributions import Categorical, Gamma, MixtureSameFamily, Normal

from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.during_training.sws import CHUNK, MixtureLoss
from snip_cli.pruning.method import find_method
from snip_cli.pruning.pruner import Plan
from snip_cli.training.trainer import Trainer
from tests.training.trainings import SEED, as_a_run_holds_it, random_data, schedule_of, train

SWS = find_method("sws")


def pruner_of(model, kept=None, **options):
    plan = Plan(kept, schedule_of(), torch.Generator(), images=30)
    return SWS.function(model, plan, SWS.read_options(options))


def weights_of(model):
    return {name: p for name, p in prunable_parameters(model).items() if p.dim() > 1}


def mixture(count, components, seed=0):
    """Weights, means, log precisions and log proportions, drawn at random."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(size, scale):
        return (scale * torch.randn(size, generator=generator, dtype=torch.float64)).requires_grad_()

    proportions = drawn(components, 1.0).detach().log_softmax(dim=0).requires_grad_()
    return drawn(count, 0.3), drawn(components, 0.3), drawn(components, 1.0), proportions


def plain_loss(weights, means, log_precisions, log_proportions):
    """The same by PyTorch's distributions."""
    components = Normal(means, (-0.5 * log_precisions).exp())
    joint = log_proportions + components.log_prob(weights[:, None])
    return -joint.logsumexp(dim=1).sum()


@pytest.mark.parametrize("count", [5, 2 * CHUNK + 3])
def test_the_prior_and_its_gradients_are_those_of_autograd(count):
    inputs = mixture(count, 4)
    loss, expected = MixtureLoss.apply(*inputs), plain_loss(*inputs)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for ours, theirs in zip(
        torch.autograd.grad(3 * loss, inputs), torch.autograd.grad(3 * expected, inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_gradients_are_those_of_finite_differences():
    assert torch.autograd.gradcheck(MixtureLoss.apply, mixture(6, 3))


def test_the_prior_is_finite_far_from_every_component():
    weights, *others = mixture(3, 4)
    inputs = [weights.detach() + 1e4, *others]
    assert torch.isfinite(MixtureLoss.apply(*inputs))


def test_the_penalty_is_the_mixture_and_the_gamma_priors_per_image(network):
    pruner = pruner_of(as_a_run_holds_it(network), components=3, tau=0.06, zero_proportion=0.9, deviation=0.2)
    flat = torch.cat([w.detach().flatten() for w in weights_of(network).values()])
    means = torch.cat([torch.zeros(1).double(), torch.linspace(flat.min(), flat.max(), 3).double()])
    shares = torch.tensor([0.9, 0.1 / 3, 0.1 / 3, 0.1 / 3], dtype=torch.float64)
    prior = MixtureSameFamily(Categorical(shares), Normal(means, torch.full((4,), 0.2, dtype=torch.float64)))
    precision = torch.tensor(25.0, dtype=torch.float64)
    at_zero, others = Gamma(5e3, 2.0), Gamma(2.5e2, 0.1)
    expected = -(prior.log_prob(flat).sum() + at_zero.log_prob(precision) + 3 * others.log_prob(precision))
    # Constants of the Gamma densities are left out.
    constants = sum(
        count * (shape * math.log(rate) - math.lgamma(shape)) for count, shape, rate in ((1, 5e3, 2.0), (3, 2.5e2, 0.1))
    )
    assert pruner.penalty().item() == pytest.approx(0.06 / 30 * (expected.item() + constants), rel=1e-5)


def test_each_kind_of_parameter_has_its_own_constant_rate(network):
    model = as_a_run_holds_it(network)
    trainer = Trainer(model, pruner_of(model), random_data(), schedule_of(), SEED)
    train(trainer)
    own = trainer.optimizer.param_groups[-3:]
    assert [group["lr"] for group in own] == [1e-4, 3e-3, 3e-3]
    assert all(group["weight_decay"] == 0.0 for group in own)


def shared(network, kept=None):
    """The pruner of a network whose weights lie around 0, -0.5 and 0.8, with components that know it, before `finish`."""
    model = as_a_run_holds_it(network)
    pruner = pruner_of(model, kept, components=2, zero_proportion=0.8)
    generator = torch.Generator().manual_seed(1)
    centres = {}
    for name, weight in weights_of(model).items():
        centre = torch.tensor([0.0, -0.5, 0.8], dtype=torch.float64)[
            torch.tensor([0.8, 0.1, 0.1]).multinomial(weight.numel(), replacement=True, generator=generator)
        ]
        noise = 0.02 * torch.randn(weight.numel(), generator=generator, dtype=torch.float64)
        weight.data.copy_((centre + noise).view(weight.shape))
        centres[name] = centre.view(weight.shape)
    state = {"means": [-0.5, 0.8], "log_precisions": [-2 * math.log(0.02)] * 3, "log_proportions": [0.0, 0.0]}
    pruner.load({name: torch.tensor(values, dtype=torch.float64) for name, values in state.items()})
    return model, pruner, centres


def test_each_weight_is_set_to_the_mean_of_its_component_and_those_at_zero_are_pruned(network):
    model, pruner, centres = shared(network)
    biases = {name: p.clone() for name, p in prunable_parameters(model).items() if p.dim() == 1}
    pruner.finish()
    for name, weight in weights_of(model).items():
        assert torch.equal(weight.detach(), centres[name])
        assert torch.equal(pruner.mask[name], centres[name] != 0)
    assert all(torch.equal(prunable_parameters(model)[name], bias) for name, bias in biases.items())
    kept = sum(int(keep.sum()) for keep in pruner.mask.values())
    assert pruner.facts()["kept_found"] == kept


@pytest.mark.parametrize("more", [-7, 9])
def test_of_a_given_sparsity_the_weights_with_the_highest_odds_are_kept(more, network):
    _, found, _ = shared(network)
    found.finish()
    count = found.facts()["kept_found"]
    model, pruner, _ = shared(network, count + more)
    before = {name: weight.detach().clone() for name, weight in weights_of(model).items()}
    pruner.finish()
    assert sum(int(keep.sum()) for keep in pruner.mask.values()) == count + more
    assert pruner.facts() == found.facts()
    for name, keep in pruner.mask.items():
        if keep.dim() > 1:
            # Fewer or more than the components would keep, and never another order.
            assert not (keep & ~found.mask[name]).any() if more < 0 else not (found.mask[name] & ~keep).any()
            assert set(weights_of(model)[name][keep].tolist()) <= {-0.5, 0.8}
    if more > 0:
        extra = torch.cat([before[n][pruner.mask[n] & ~found.mask[n]] for n in before])
        left = torch.cat([before[n][~pruner.mask[n]] for n in before])
        # Of the weights around zero, those nearest to the other components.
        odds = [max(-((w + 0.5) ** 2), -((w - 0.8) ** 2)) + w**2 for w in extra.tolist()]
        assert min(odds) >= max(max(-((w + 0.5) ** 2), -((w - 0.8) ** 2)) + w**2 for w in left.tolist())


def test_the_errors_before_and_after_the_weights_are_shared_are_recorded(network):
    model = as_a_run_holds_it(network)
    trainer = Trainer(model, pruner_of(model), random_data(), schedule_of(), SEED)
    train(trainer)
    assert trainer.facts()[0].keys() == {
        "val_error_before_finish",
        "test_error_before_finish",
        "kept_found",
        "sparsity_found",
    }
    values = torch.cat([w.detach()[trainer.masks()[0][name]] for name, w in weights_of(model).items()])
    assert len(values.unique()) <= 16
