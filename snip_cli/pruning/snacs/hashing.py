"""The hash of the estimator: standardise, project, shift, floor.

N samples, C channels, G groups, R coordinates of a group, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

# Coordinates are cut off this many standard deviations from their mean: the outermost buckets are open, and no outlier makes more of them.
CLIP = 3.0
# A standard deviation below this is rounding: of a channel's largest magnitude, and of what is left of a standardised one. It counts as 0.
ROUNDING = 1e-7

Bounds = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Draw:
    """What one member of the ensemble draws: Gaussian directions of child and parent channels and of the condition, [channels, coordinates], and
    shifts in [0, 1) of a bucket, [coordinates]."""

    child_CR: Tensor
    parent_CR: Tensor
    condition_CR: Tensor
    child_shift_R: Tensor
    parent_shift_R: Tensor
    condition_shift_R: Tensor


def draw_members(
    members: int, child: int, parent: int, coordinates: int, seed: int, device: torch.device
) -> list[Draw]:
    """The draws of every member, for layers of `child` and `parent` channels; float64, and the same on every device."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Draw:
        directions = [
            torch.randn(size, coordinates, generator=generator, dtype=torch.float64) for size in (child, parent, parent)
        ]
        shifts = [torch.rand(coordinates, generator=generator, dtype=torch.float64) for _ in range(3)]
        return Draw(*(tensor.to(device) for tensor in (*directions, *shifts)))

    return [draw() for _ in range(members)]


def standardised(values_NC: Tensor) -> Tensor:
    """Every channel with mean 0 and standard deviation 1, in float64; a constant channel is 0."""
    values = values_NC.double()
    largest = values.abs().amax(0).clamp_min(torch.finfo(torch.float64).tiny)
    values = values / largest
    values -= values.mean(0)
    return values * inverse_spread(values.square().mean(0))


def inverse_spread(variance: Tensor) -> Tensor:
    """1 / standard deviation, and 0 where there is none but rounding."""
    return torch.where(variance > ROUNDING**2, variance.rsqrt(), 0.0)


def group_coordinates(values_NC: Tensor, directions_CR: Tensor, bounds: Bounds) -> list[Tensor]:
    """For every group its N×R coordinates: its own channels where they are no more than the directions, else their Gaussian projection."""
    most = directions_CR.shape[1]
    return [
        values_NC[:, first:last] if last - first <= most else values_NC[:, first:last] @ directions_CR[first:last]
        for first, last in bounds
    ]


def condition_coordinates(values_NC: Tensor, directions_CR: Tensor, bounds: Bounds) -> list[Tensor]:
    """For every group the coordinates of all channels outside it: the whole layer's projection, computed once, less the group's own part."""
    most = directions_CR.shape[1]
    whole_NR = values_NC @ directions_CR
    coordinates = []
    for first, last in bounds:
        if values_NC.shape[1] - (last - first) > most:
            coordinates.append(whole_NR - values_NC[:, first:last] @ directions_CR[first:last])
        else:
            coordinates.append(torch.cat([values_NC[:, :first], values_NC[:, last:]], dim=1))
    return coordinates


def bucket_count(width: float, shift: float) -> int:
    """Buckets of one coordinate: the last one that a value at the cut-off falls into, and those before it."""
    return int(2 * CLIP / width + shift) + 1


def codes(coordinates_NR: Tensor, width: float, shift_R: Tensor) -> tuple[Tensor, int]:
    """The bucket of each sample in 0 … count - 1 (int64), and count, from centred coordinates: floor((value + 3) / width + shift), value in [-3, 3] standard deviations.

    Coordinates that are lacking count as 0.
    """
    code_N = torch.zeros(len(coordinates_NR), dtype=torch.int64, device=coordinates_NR.device)
    total = 1
    scaled_NR = coordinates_NR * inverse_spread(coordinates_NR.square().mean(0)) / width + CLIP / width
    scaled_NR = pad(scaled_NR, (0, len(shift_R) - scaled_NR.shape[1]))
    for column, shift in enumerate(shift_R.tolist()):
        count = bucket_count(width, shift)
        code_N = code_N * count + (scaled_NR[:, column] + shift).clamp_(0, count - 0.5).long()
        total *= count
    return code_N, total
