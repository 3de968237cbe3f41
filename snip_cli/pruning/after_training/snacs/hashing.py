"""The hash of the estimator: standardise, project, shift, floor.

N samples, C channels, H groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Coordinates are cut off this many standard deviations from their mean: the outermost buckets are open, and no outlier makes more of them.
CLIP = 3.0
# Steps of a standard deviation that coordinates are rounded down to.
RESOLUTION = 4096
# A standard deviation below this is rounding: of a channel's largest magnitude, and of what is left of a standardised one. It counts as 0.
ROUNDING = 1e-7

Bounds = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Draw:
    """What one member of the ensemble draws: a Gaussian direction of the condition, and shifts of child, parent and condition in [0, 1) of a bucket."""

    direction_C: Tensor
    shifts: tuple[float, float, float]


def draw_members(members: int, channels: int, seed: int, device: torch.device) -> list[Draw]:
    """The draws of every member, for a layer of `channels` parents; the same on every device."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Draw:
        direction_C = torch.randn(channels, generator=generator, dtype=torch.float64)
        child, parent, condition = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        return Draw(direction_C.to(device), (child, parent, condition))

    return [draw() for _ in range(members)]


def standardised(values_NC: Tensor) -> Tensor:
    """Every channel with mean 0 and standard deviation 1, in float64; a constant channel is 0."""
    values = values_NC.double()
    values = values / values.abs().amax(0).clamp_min(torch.finfo(torch.float64).tiny)
    values -= values.mean(0)
    return values * inverse_spread(values.square().mean(0))


def inverse_spread(variance: Tensor) -> Tensor:
    """1 / standard deviation, and 0 where there is none but rounding."""
    return torch.where(variance > ROUNDING**2, variance.rsqrt(), 0.0)


def condition_values(values_NC: Tensor, direction_C: Tensor, bounds: Bounds) -> Tensor:
    """For every group the projection of all channels outside it, with standard deviation 1: H×N. The whole layer's, computed once, less the group's own part."""
    own_HN = torch.stack([values_NC[:, first:last] @ direction_C[first:last] for first, last in bounds])
    rest_HN = values_NC @ direction_C - own_HN
    return rest_HN * inverse_spread(rest_HN.square().mean(1, keepdim=True))


def quantised(values: Tensor) -> Tensor:
    """Values in standard deviations as int32 steps of 1/4096 from -3 up, cut off at ±3: they are hashed by looking the bucket up, which every member does in its own table."""
    return (values * RESOLUTION).add_(CLIP * RESOLUTION).clamp_(0, 2 * CLIP * RESOLUTION).int()


def bucket_count(width: float, shift: float) -> int:
    """Buckets of one coordinate: the last one that a value at the cut-off falls into, and those before it."""
    return int(2 * CLIP / width + shift) + 1


def bucket_table(width: float, shift: float, device: torch.device) -> Tensor:
    """The bucket of each quantised value, 0 … bucket_count - 1 (int32): floor((value + 3) / width + shift)."""
    steps = torch.arange(int(2 * CLIP * RESOLUTION) + 1, dtype=torch.float64, device=device)
    return (steps / RESOLUTION / width + shift).int()
