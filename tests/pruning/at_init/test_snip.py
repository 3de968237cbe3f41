import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from snip_cli.errors import ConfigError, RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.at_init.snip import SnipOptions, connection_sensitivity, snip
from snip_cli.pruning.method import find_method

GENERATOR = torch.Generator()
BATCH_NORM = nn.modules.batchnorm._BatchNorm


def as_the_released_code_scores(model):
    """Set training mode for all modules but batch-norm."""
    model.train()
    for module in model.modules():
        if isinstance(module, BATCH_NORM):
            module.eval()
    return model


def gradient_by_mask(model, batch):
    """g = ∂L/∂c at c = 1, taken literally: every prunable parameter w is replaced by c · w."""
    inputs, labels = batch
    weights = {name: p.detach() for name, p in prunable_parameters(model).items()}
    c = {name: torch.ones_like(w, requires_grad=True) for name, w in weights.items()}
    masked = {name: c[name] * w for name, w in weights.items()}
    loss = F.cross_entropy(functional_call(model, masked, (inputs,)), labels)
    return dict(zip(c, torch.autograd.grad(loss, list(c.values())), strict=True))


def several_batches():
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(3, 6, 1, 8, 8, generator=generator, dtype=torch.float64)
    return list(zip(images, torch.randint(4, (3, 6), generator=generator), strict=True))


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-15)


def test_the_derivative_by_the_mask_is_weight_times_the_derivative_by_the_weight(network, batch):
    as_the_released_code_scores(network)
    parameters = prunable_parameters(network)
    loss = F.cross_entropy(network(batch[0]), batch[1])
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    by_chain_rule = {name: p.detach() * g for (name, p), g in zip(parameters.items(), gradients, strict=True)}
    literal = gradient_by_mask(network, batch)
    assert all(g.count_nonzero() > g.numel() / 2 for g in literal.values())
    assert_equal(by_chain_rule, literal)


def test_the_saliency_is_the_normalised_magnitude_of_the_derivative_by_the_mask(network, batch):
    g = gradient_by_mask(as_the_released_code_scores(copy.deepcopy(network)), batch)
    total = sum(float(part.abs().sum()) for part in g.values())
    expected = {name: part.abs() / total for name, part in g.items()}
    assert_equal(connection_sensitivity(network, batch, F.cross_entropy), expected)


def test_the_saliency_sums_to_one(network, batch):
    scores = connection_sensitivity(network, batch, F.cross_entropy)
    assert sum(float(score.sum()) for score in scores.values()) == pytest.approx(1.0, rel=0, abs=1e-14)


def test_the_saliency_does_not_depend_on_the_scale_of_the_loss(network, batch):
    scaled = connection_sensitivity(network, batch, lambda outputs, labels: 8 * F.cross_entropy(outputs, labels))
    assert_equal(scaled, connection_sensitivity(network, batch, F.cross_entropy))


def test_batch_norm_alone_is_in_inference_mode_while_scoring(network, batch):
    seen = {}
    for module in network.modules():
        module.register_forward_pre_hook(lambda module, _: seen.update({module: module.training}))
    network.eval()
    connection_sensitivity(network, batch, F.cross_entropy)
    assert set(seen) == set(network.modules())
    assert all(training is not isinstance(module, BATCH_NORM) for module, training in seen.items())


def test_scoring_leaves_buffers_modes_weights_and_gradients_alone(network, batch):
    for number, module in enumerate(network.modules()):
        module.training = number % 2 == 0
    state = copy.deepcopy(network.state_dict())
    modes = [module.training for module in network.modules()]
    connection_sensitivity(network, batch, F.cross_entropy)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert all(p.grad is None for p in network.parameters())


def test_modes_come_back_even_where_the_loss_fails(network, batch):
    def failing(outputs, labels):
        raise ZeroDivisionError

    network.eval()
    with pytest.raises(ZeroDivisionError):
        connection_sensitivity(network, batch, failing)
    assert not any(module.training for module in network.modules())


def test_scoring_works_where_gradients_are_switched_off(network, batch):
    expected = connection_sensitivity(network, batch, F.cross_entropy)
    with torch.no_grad():
        assert_equal(connection_sensitivity(network, batch, F.cross_entropy), expected)


def test_a_network_of_zeros_has_no_saliency_rather_than_nan(network, batch):
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    scores = connection_sensitivity(network, batch, F.cross_entropy)
    assert all(torch.equal(score, torch.zeros_like(score)) for score in scores.values())


def test_a_layer_that_the_output_does_not_use_has_no_saliency(network, batch):
    expected = connection_sensitivity(network, batch, F.cross_entropy)
    network.register_module("idle", nn.Linear(2, 2).double())
    network.idle.forward = lambda outputs: outputs
    scores = connection_sensitivity(network, batch, F.cross_entropy)
    assert not scores["idle.weight"].any() and not scores["idle.bias"].any()
    assert_equal({name: scores[name] for name in expected}, expected)


def test_several_batches_are_summed(network):
    batches = several_batches()
    expected = {name: torch.zeros_like(p) for name, p in prunable_parameters(network).items()}
    for batch in batches:
        for name, saliency in connection_sensitivity(network, batch, F.cross_entropy).items():
            expected[name] = expected[name] + saliency
    assert_equal(snip(network, batches, F.cross_entropy, GENERATOR, SnipOptions()), expected)


def test_several_batches_are_averaged_with_exponentially_falling_weights(network):
    batches = several_batches()
    first, second, third = (connection_sensitivity(network, batch, F.cross_entropy) for batch in batches)
    expected = {name: 0.7 * (0.7 * first[name] + 0.3 * second[name]) + 0.3 * third[name] for name in first}
    assert_equal(snip(network, batches, F.cross_entropy, GENERATOR, SnipOptions("ema", 0.7)), expected)


@pytest.mark.parametrize("accumulate", ["sum", "ema"])
def test_of_one_batch_the_score_is_its_saliency(network, batch, accumulate):
    expected = connection_sensitivity(network, batch, F.cross_entropy)
    assert_equal(snip(network, [batch], F.cross_entropy, GENERATOR, SnipOptions(accumulate)), expected)


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"accumulate": "mean"}, "accumulate must be sum or ema: got 'mean'"),
        ({"ema_decay": 1.0}, r"method.ema_decay must be in \[0, 1\): got"),
        ({"ema_decay": -0.1}, r"method.ema_decay must be in \[0, 1\): got"),
        ({"ema_decay": float("nan")}, r"method.ema_decay must be in \[0, 1\): got"),
    ],
)
def test_a_wrong_option_is_refused_by_name(option, named):
    with pytest.raises(ConfigError, match=named):
        find_method("snip").read_options(option)


def scored_with_zeros(*, layer, bias=0.0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        model[layer].weight.zero_()
        model[layer].bias.fill_(bias)
    batch = torch.randn(16, 8), torch.arange(16) % 3
    return snip(model, [batch], F.cross_entropy, GENERATOR, SnipOptions())


@pytest.mark.parametrize(("bias", "of"), [(0.0, ""), (-10.0, " of a weight")], ids=["zero biases", "other biases"])
def test_a_last_layer_of_zeros_is_named_with_the_remedy(bias, of):
    """torchvision's vision transformers and many heads for fine-tuning start like this."""
    with pytest.raises(RunError) as error:
        scored_with_zeros(layer=2, bias=bias)
    assert str(error.value) == (
        f"Every saliency{of} is zero, so the scores cannot rank connections: 2.weight is all zeros, so it passes no gradient to the layers "
        "before it. Draw it, as torch.nn.init.xavier_uniform_ does, or load pretrained weights."
    )


def test_a_first_layer_of_zeros_leaves_the_others_their_saliencies():
    scores = scored_with_zeros(layer=0, bias=1.0)
    assert not scores["0.weight"].any()
    assert scores["2.weight"].any()


def test_saliencies_that_vanish_without_a_layer_of_zeros_have_another_remedy():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    nn.init.constant_(model[0].bias, -100.0)  # no unit is ever on
    nn.init.zeros_(model[2].bias)
    with pytest.raises(RunError, match="use another init or saliency batch"):
        snip(model, [(torch.randn(16, 8), torch.arange(16) % 4)], F.cross_entropy, GENERATOR, SnipOptions())
