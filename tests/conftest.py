"""What many test files need: one thread, the filled registry, three small networks and a batch that fits them all."""

import sys
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from snip_cli import registry

torch.set_num_threads(1)
registry.load_builtin()


@pytest.fixture(autouse=True)
def registry_as_it_was(monkeypatch):
    """What a test's own Python files register and import is gone after it."""
    for kind in (registry.methods, registry.models, registry.datasets, registry.initialisers):
        monkeypatch.setattr(kind, "_functions", dict(kind._functions))
    before = set(sys.modules)
    yield
    for module in set(sys.modules) - before:
        if module.startswith("snip_user_"):
            del sys.modules[module]


class Recurrent(nn.Module):
    """An LSTM that reads the rows of an image, and a linear layer on its last output."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 6, batch_first=True)
        self.linear = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        outputs, _ = self.lstm(images.squeeze(1))
        return self.linear(outputs[:, -1])


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ReLU(), nn.Linear(10, 4))


def convolution() -> nn.Module:
    """With batch-norm whose statistics are no longer those of a new layer."""
    norm = nn.BatchNorm2d(5)
    norm.running_mean.uniform_(-0.5, 0.5)
    norm.running_var.uniform_(0.5, 2.0)
    return nn.Sequential(nn.Conv2d(1, 5, 3), norm, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(45, 4))


@pytest.fixture
def small_lenet(monkeypatch):
    """`model=lenet_300_100` is a network of 49 inputs, 20 and 8 units, so that runs of many rounds and second-order methods are quick."""

    def small(shape: tuple[int, int, int], classes: int) -> nn.Module:
        layers = OrderedDict(pool=nn.AvgPool2d(4), flatten=nn.Flatten(), fc1=nn.Linear(49, 20), relu1=nn.ReLU())
        layers |= OrderedDict(fc2=nn.Linear(20, 8), relu2=nn.ReLU(), fc3=nn.Linear(8, classes))
        return nn.Sequential(layers)

    monkeypatch.setitem(registry.models._functions, "lenet_300_100", small)


@pytest.fixture(params=[perceptron, convolution, Recurrent], ids=["perceptron", "convolution", "recurrent"])
def network(request):
    """Each of three networks in double precision, for images of 1×8×8 and 4 classes; no bias is zero."""
    torch.manual_seed(1)
    return request.param().double()


@pytest.fixture
def batch():
    """Twelve images of 1×8×8 in double precision and their labels."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(12, 1, 8, 8, generator=generator, dtype=torch.float64)
    return images, torch.randint(4, (12,), generator=generator)
