"""Networks whose masks have emptied something, for the tests of compaction."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def lived_in(model: nn.Module) -> nn.Module:
    """`model` in double precision and inference mode, with biases and batch-norm of both signs, as after training."""
    torch.manual_seed(3)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(layer.weight, 1.0, 0.2)
            nn.init.normal_(layer.bias, 0.0, 0.3)
    for name, parameter in model.named_parameters():
        if "bias" in name and parameter.dim() == 1 and not parameter.any():
            nn.init.normal_(parameter, 0.0, 0.2)
    return model.double().eval()


@torch.no_grad()
def half_emptied(model: nn.Module) -> nn.Module:
    """`model` without half of the outputs, a fifth of the inputs and half of the biases of every layer."""
    draws = torch.Generator().manual_seed(4)
    for name, parameter in lived_in(model).named_parameters():
        if parameter.dim() > 1:
            parameter[torch.rand(len(parameter), generator=draws) < 0.5] = 0
            parameter[:, torch.rand(parameter.shape[1], generator=draws) < 0.2 * (parameter.shape[1] > 3)] = 0
        elif "bias" in name:
            parameter[::2] = 0
    return model


def images(shape: tuple[int, ...], count: int = 3) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@torch.no_grad()
def largest_difference(first: nn.Module, second: nn.Module, shape: tuple[int, ...]) -> float:
    batch = images(shape)
    return float((first(batch) - second(batch)).abs().max())


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


class Residual(nn.Module):
    """Two branches that are added. The second pads channels before and after, like a shortcut without parameters."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.outer, self.head = nn.Conv2d(6, 8, 3, 2, padding=1), nn.Linear(8, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        branch = self.outer(F.relu(self.inner(x)))
        return self.head(F.relu(branch + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))).mean(dim=(2, 3)))


class Conditional(nn.Module):
    """A forward pass with a condition on its input."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 2)

    def forward(self, x):
        return self.linear(x) if x.sum() > 0 else self.linear(-x)
