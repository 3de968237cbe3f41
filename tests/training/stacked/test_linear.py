"""Gradients of linear layers, written out, are those of autograd."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli.training.stacked import linear

SIZES = {
    "plain": [5, "relu", 4, "relu", 3],
    "a linear layer after another": [5, 4, 3],
    "ReLU twice, first and last": ["relu", 5, "relu", "relu", 3, "relu"],
    "one layer": [3],
}
IMAGES, READ = 6, 7


def layers_of(sizes):
    read, layers = READ, []
    for size in sizes:
        layers.append(nn.ReLU() if size == "relu" else nn.Linear(read, size).double())
        read = read if size == "relu" else size
    return layers


def by_autograd(layers, values, labels):
    loss = F.cross_entropy(nn.Sequential(*layers)(values), labels)
    loss.backward()
    return loss.detach(), {
        f"{i}.{name}": p.grad for i, layer in enumerate(layers) for name, p in layer.named_parameters()
    }


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_each_replicate_has_the_gradient_of_its_own_mean_loss(sizes):
    torch.manual_seed(0)
    networks = [layers_of(sizes) for _ in range(2)]
    values_RBI = torch.randn(2, IMAGES, READ, dtype=torch.float64)
    labels_RB = torch.randint(3, (2, IMAGES))
    expected = [by_autograd(*each) for each in zip(networks, values_RBI, labels_RB, strict=True)]
    weights = {
        f"{i}.{name}": torch.stack([parameter.detach(), networks[1][i].get_parameter(name).detach()])
        for i, layer in enumerate(networks[0])
        for name, parameter in layer.named_parameters()
    }
    layers = [(str(i), layer) for i, layer in enumerate(networks[0])]
    losses_R, gradients = linear.gradients(layers, weights, values_RBI, labels_RB)
    assert {*gradients} == {*weights}
    for number, (loss, single) in enumerate(expected):
        torch.testing.assert_close(losses_R[number], loss, rtol=0, atol=1e-12)
        for name, gradient in single.items():
            torch.testing.assert_close(gradients[name][number], gradient, rtol=0, atol=1e-12)
