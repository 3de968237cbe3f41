"""Models and losses that prune() cannot score: one sentence each, with the remedy."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import snip_cli
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))


def of_inference_mode():
    with torch.inference_mode():
        return network()


def of_complex_numbers():
    model = network()
    model[2].weight = nn.Parameter(model[2].weight.to(torch.complex64))
    return model


class Blind(nn.Module):
    """A network whose own forward pass switches gradients off."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    @torch.no_grad()
    def forward(self, x):
        return self.layer(x)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 8, generator=generator), torch.randint(4, (16,), generator=generator)


MODELS = {
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(4)), r"Layer '0' is lazy \(LazyLinear\).*run one batch through"),
    "lazy itself": (lambda: nn.LazyLinear(4), "Layer 'LazyLinear' is lazy"),
    "lazy elsewhere": (lambda: nn.Sequential(network(), nn.LazyBatchNorm1d()), "Layer '1' is lazy"),
    "on the meta device": (lambda: network().to("meta"), "'0.weight' lies on the meta device.*to_empty"),
    "made under inference mode": (of_inference_mode, "'0.weight' was made under torch.inference_mode.*outside of it"),
    "frozen": (lambda: network().requires_grad_(False), "are frozen. Call model.requires_grad_"),
    "no layer": (lambda: nn.LayerNorm(8), "no convolution, linear or recurrent layer"),
    "without gradients": (Blind, r"The loss has no gradient.*without torch.no_grad\(\)"),
    "complex": (of_complex_numbers, r"2\.weight holds complex numbers.*Freeze it"),
    "no module": (lambda: F.relu, "model must be a torch.nn.Module: got a value of type"),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_model_that_cannot_be_scored_is_refused_in_one_sentence(case, batch):
    make, said = MODELS[case]
    with pytest.raises(ConfigError, match=said) as refusal:
        snip_cli.prune(make(), batch, F.cross_entropy)
    assert "\n" not in str(refusal.value)


LOSSES = {
    "per example": (lambda o, y: F.cross_entropy(o, y, reduction="none"), r"got a tensor of shape \(16,\).*'mean'"),
    "detached": (lambda o, y: F.cross_entropy(o.detach(), y), r"The loss has no gradient.*without detach\(\)"),
    "None": (lambda o, y: None, "must return a tensor of one number: got None"),
    "a float": (lambda o, y: F.cross_entropy(o, y).item(), r"must return a tensor of one number: got 1\.\d+"),
    "of other labels": (lambda o, y: F.cross_entropy(o, y[:3]), "The loss does not take outputs that are a tensor"),
    "of labels out of range": (lambda o, y: F.cross_entropy(o, y + 9), "labels that are a tensor of shape.*Target"),
    "of two arguments less": (lambda: None, r"it is called as loss\(outputs, labels\)"),
}


@pytest.mark.parametrize("case", LOSSES)
def test_a_loss_that_cannot_be_differentiated_is_refused_in_one_sentence(case, batch):
    loss, said = LOSSES[case]
    with pytest.raises(ConfigError, match=said) as refusal:
        snip_cli.prune(network(), batch, loss)
    assert "\n" not in str(refusal.value)


def test_a_loss_of_one_number_in_brackets_is_a_number(batch):
    expected = snip_cli.prune(network(), batch, F.cross_entropy)
    mask = snip_cli.prune(network(), batch, lambda *given: F.cross_entropy(*given)[None])
    assert all(torch.equal(mask[name], expected[name]) for name in expected)


INPUTS = {
    "another shape": (
        torch.randn(16, 9),
        r"inputs that are a tensor of shape \(16, 9\), float32 on cpu: mat1 and mat2",
    ),
    "another type": (torch.randn(16, 8).double(), "float64 on cpu: .*on the model's device and of its type"),
    "another device": (torch.randn(16, 8, device="meta"), "float32 on meta"),
    "one input too many": ((torch.randn(16, 8), torch.randn(16, 8)), "inputs that are a tuple of a tensor.*takes"),
    "an unknown name": ({"image": torch.randn(16, 8)}, "inputs that are a dictionary of image.*unexpected keyword"),
}


@pytest.mark.parametrize("case", INPUTS)
def test_inputs_that_the_model_does_not_take_are_refused_in_one_sentence(case, batch):
    inputs, said = INPUTS[case]
    with pytest.raises(ConfigError, match=said) as refusal:
        snip_cli.prune(network(), (inputs, batch[1]), F.cross_entropy)
    assert "\n" not in str(refusal.value)
    assert refusal.value.__cause__ is not None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_scoring_works_where_gradients_are_switched_off(mode, batch):
    expected = snip_cli.prune(network(), batch, F.cross_entropy)
    model = network()
    with mode():
        same = tuple(tensor.clone() for tensor in batch)
        mask = snip_cli.prune(model, same, F.cross_entropy)
    assert all(torch.equal(mask[name], expected[name]) for name in expected)


def test_too_little_memory_is_no_fault_of_the_inputs(batch):
    def exhausted(outputs, labels):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        snip_cli.prune(network(), batch, exhausted)


def test_a_lazy_layer_is_refused_wherever_parameters_are_asked_for():
    model = nn.Sequential(nn.LazyLinear(4))
    for ask in (prunable_parameters, lambda model: snip_cli.apply_mask(model, {})):
        with pytest.raises(ConfigError, match="is lazy"):
            ask(model)
    model(torch.randn(2, 8))
    assert list(prunable_parameters(model)) == ["0.weight", "0.bias"]
