"""What every registered initialiser draws, measured on a weight of 240,000 entries."""

import math

import pytest
import torch
from torch import nn

from snip_cli import registry
from snip_cli.models.initialisers import fans, initialise

FAN_IN, FAN_OUT = 600, 400
# Standard deviation of a standard normal truncated at ±2: its variance is 1 - 2·2·φ(2) / (2Φ(2) - 1).
TRUNCATED = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))
# An entry for every registered initialiser: the standard deviation of what it draws.
STANDARD_DEVIATION = {
    "rn": 1.0,
    "tn": TRUNCATED,
    "vs_x": math.sqrt(2 / (FAN_IN + FAN_OUT)),
    "vs_h": math.sqrt(2 / FAN_IN),
    "vs_lecun": math.sqrt(1 / FAN_IN),
}
every_initialiser = pytest.mark.parametrize("name", registry.initialisers.names())
truncated = pytest.mark.parametrize("name", ["tn", "vs_x", "vs_h", "vs_lecun"])


def drawn(name, seed=0, **options):
    """The weight of a linear layer after `initialise`."""
    layer = nn.Linear(FAN_IN, FAN_OUT)
    initialise(layer, name, torch.Generator().manual_seed(seed), **options)
    return layer.weight.detach().double()


def everything():
    """A network with each kind of layer, whose parameters and statistics all differ from those of a new layer."""
    model = nn.ModuleDict(
        {"conv": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4), "lstm": nn.LSTM(5, 6), "linear": nn.Linear(6, 2)}
    )
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data.fill_(3)
    return model


@every_initialiser
def test_the_standard_deviation_is_that_of_its_definition(name):
    # The standard error of 240,000 draws is 0.15 %.
    assert float(drawn(name).std()) == pytest.approx(STANDARD_DEVIATION[name], rel=0.005)


@every_initialiser
def test_the_mean_is_zero(name):
    assert abs(float(drawn(name).mean())) < 4 * STANDARD_DEVIATION[name] / math.sqrt(FAN_IN * FAN_OUT)


@truncated
def test_nothing_lies_beyond_two_standard_deviations_of_the_normal_that_is_truncated(name):
    bound = 2 * STANDARD_DEVIATION[name] / TRUNCATED
    largest = float(drawn(name).abs().max())
    assert 0.999 * bound < largest <= bound * (1 + 1e-6)


def test_the_random_normal_is_not_truncated():
    assert float(drawn("rn").abs().max()) > 4


@pytest.mark.parametrize("name", ["rn", "tn"])
def test_the_standard_deviation_can_be_chosen(name):
    torch.testing.assert_close(drawn(name, std=0.1), 0.1 * drawn(name), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("shape", "expected"), [((7, 5), (5, 7)), ((8, 3, 5, 2), (30, 80)), ((24, 10), (10, 24)), ((6, 4, 3), (12, 18))]
)
def test_a_kernels_receptive_field_counts_in_both_fans(shape, expected):
    assert fans(torch.empty(shape)) == expected


@every_initialiser
def test_the_same_seed_gives_the_same_weights_whatever_the_model_held_before(name):
    torch.manual_seed(0)
    new, old = everything(), everything()
    for parameter in new.parameters():
        nn.init.uniform_(parameter)
    for model in (new, old):
        initialise(model, name, torch.Generator().manual_seed(4))
    assert all(torch.equal(tensor, old.state_dict()[key]) for key, tensor in new.state_dict().items())


@every_initialiser
def test_another_seed_gives_other_weights(name):
    assert not torch.equal(drawn(name, seed=0), drawn(name, seed=1))


@every_initialiser
def test_every_weight_is_drawn_and_every_bias_is_zero(name):
    model = everything()
    initialise(model, name, torch.Generator().manual_seed(0))
    for key, parameter in model.named_parameters():
        if "norm" not in key:
            assert parameter.unique().numel() == (1 if "bias" in key else parameter.numel())
            assert not ("bias" in key and parameter.any())


def test_batch_norm_starts_anew():
    model = everything()
    initialise(model, "vs_x", torch.Generator().manual_seed(0))
    fresh = nn.BatchNorm2d(4).state_dict()
    assert all(torch.equal(tensor, fresh[key]) for key, tensor in model["norm"].state_dict().items())


def test_the_global_generator_is_not_moved():
    model = everything()
    before = torch.get_rng_state()
    initialise(model, "vs_x", torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_weight_that_two_layers_share_is_drawn_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    initialise(model, "rn", torch.Generator().manual_seed(0))
    assert model[1].weight is model[0].weight
    assert torch.equal(model[0].weight, torch.empty(3, 3).normal_(generator=torch.Generator().manual_seed(0)))
