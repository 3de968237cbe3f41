"""Gaussian samples whose conditional mutual information is known."""

import math

import torch
from torch import Tensor


def gaussian(
    samples: int, correlation: float, *, size: int = 1, condition: int = 1, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw X and Y of `size` dimensions, float64. Both have common causes in all of Z, as strong as their own parts. Given Z, each dimension of X
    correlates with one of Y."""
    generator = torch.Generator().manual_seed(seed)

    def normal(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator, dtype=torch.float64)

    z_ND, x_noise, y_noise = normal(samples, condition), normal(samples, size), normal(samples, size)
    cause = z_ND @ normal(condition, size) / max(1, condition) ** 0.5
    y_own = correlation * x_noise + math.sqrt(1 - correlation**2) * y_noise
    return cause + x_noise, cause + y_own, z_ND


def information(correlation: float, size: int = 1) -> float:
    """Return I(X; Y | Z) of `gaussian`, in bits."""
    return size / 2 * math.log2(1 / (1 - correlation**2))
