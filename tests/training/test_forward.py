"""The forms in which a network is applied give its outputs."""

import pytest
import torch
from torch import nn

from snip_cli.runtime.processes import ProcessGroup
from snip_cli.training import trainer as module
from snip_cli.training.trainer import Forward


@pytest.fixture
def images(batch):
    return batch[0].float()


@pytest.fixture
def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ReLU(), nn.Linear(10, 4))


def test_the_plain_form_is_the_network(network, batch):
    forward = Forward(network.eval(), ProcessGroup())
    assert torch.equal(forward(batch[0]), network(batch[0]))
    assert torch.equal(forward.training(batch[0]), network(batch[0]))


def test_bfloat16_rounds_the_arithmetic_and_leaves_weights_and_outputs_in_float32(network, images):
    network = network.float().eval()
    forward = Forward(network, ProcessGroup(), bfloat16=True)
    outputs = forward.training(images)
    assert outputs.dtype == torch.float32
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    assert not torch.equal(outputs, network(images))
    torch.testing.assert_close(outputs, network(images), rtol=0.05, atol=0.05)
    assert torch.equal(forward(images), outputs)


def test_compiled_is_the_same_to_rounding(images):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))
    expected = network.eval()(images)
    torch.testing.assert_close(Forward(network, ProcessGroup(), compiled=True).training(images), expected)


def test_where_nothing_compiles_one_line_says_so_and_training_goes_on(perceptron, images, monkeypatch):
    def broken(_):
        def call(_):
            raise RuntimeError("no compiler\nand a long story")

        return call

    monkeypatch.setattr(module.torch, "compile", broken)
    told = []
    monkeypatch.setattr(module.log, "warning", lambda text, *values: told.append(text % values))
    forward = Forward(perceptron, ProcessGroup(), compiled=True)
    for _ in range(2):
        assert torch.equal(forward.training(images), perceptron(images))
    assert told == ["torch.compile does not work here (RuntimeError: no compiler): goes on without"]


def test_an_error_after_the_first_call_is_an_error(perceptron, images, monkeypatch):
    calls = []

    def call(_):
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("out of memory")
        return torch.zeros(1)

    monkeypatch.setattr(module.torch, "compile", lambda _: call)
    forward = Forward(perceptron, ProcessGroup(), compiled=True)
    forward.training(images)
    with pytest.raises(RuntimeError, match="out of memory"):
        forward.training(images)


def test_a_recurrent_net_is_not_compiled(monkeypatch):
    monkeypatch.setattr(module.torch, "compile", lambda network: pytest.fail("it was compiled"))
    net = nn.Sequential(nn.LSTM(3, 3))
    assert Forward(net, ProcessGroup(), compiled=True).training(torch.zeros(2, 1, 3))[0].shape == (2, 1, 3)
