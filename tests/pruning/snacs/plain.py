"""The estimator of `acmi.py` for one pair, word by word: loops and dictionaries, nothing shared between pairs. The tests' reference and the bench's rival."""

import math
from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray

from snip_cli.pruning.snacs.bandwidth import default_bandwidth, ensemble_bandwidths
from snip_cli.pruning.snacs.divergence import LARGEST, STEPS, chance
from snip_cli.pruning.snacs.hashing import CLIP, Draw, draw_members

Array = NDArray[np.float64]


def plain_information(
    x_ND: Array,
    y_ND: Array,
    z_ND: Array,
    *,
    divergence: str = "shannon",
    residual: bool = True,
    members: int = 10,
    coordinates: int = 1,
    bandwidth: float | None = None,
    seed: int = 0,
) -> float:
    """`conditional_mutual_information`, with the same draws."""
    child, own, rest = x_ND.shape[1], y_ND.shape[1], z_ND.shape[1]
    draws = draw_members(members, child, own + rest, coordinates, seed, torch.device("cpu"))
    columns = (range(child), range(own), range(own, own + rest))
    return plain_pair(x_ND, y_ND, z_ND, draws, columns, divergence=divergence, residual=residual, bandwidth=bandwidth)


def plain_pair(
    x_ND: Array,
    y_ND: Array,
    z_ND: Array,
    draws: list[Draw],
    columns: tuple[range | list[int], ...],
    *,
    divergence: str = "shannon",
    residual: bool = True,
    bandwidth: float | None = None,
    phi: Array | None = None,
) -> float:
    """One pair of a layer: `columns` are the channels of x, and of y and z in the parent layer. `phi` is a factor [parent's size] -> number."""
    x_ND, y_ND, z_ND = (standard(values) for values in (x_ND, y_ND, z_ND))
    dimensions = x_ND, y_ND, z_ND
    most = draws[0].child_CR.shape[1]
    width = bandwidth or default_bandwidth(len(x_ND), sum(min(v.shape[1], most) for v in dimensions))
    if residual:
        ridge = 0.1 * (y_ND.shape[1] + z_ND.shape[1]) / len(x_ND)
        x_ND, y_ND = regressed(x_ND, z_ND, ridge), regressed(y_ND, z_ND, ridge)
    estimates = []
    for draw, member_width in zip(draws, ensemble_bandwidths(width, len(draws)).tolist(), strict=True):
        directions = draw.child_CR, draw.parent_CR, draw.condition_CR
        shifts = draw.child_shift_R, draw.parent_shift_R, draw.condition_shift_R
        codes = [
            hashed(values, direction.numpy()[list(channels)], member_width, shift.tolist())
            for values, direction, channels, shift in zip((x_ND, y_ND, z_ND), directions, columns, shifts, strict=True)
        ]
        estimates.append(plug_in(*codes, divergence))
    return float(np.median(estimates))


def standard(values_ND: Array) -> Array:
    """Every column with mean 0 and spread 1; a constant one is 0."""
    centred = values_ND - values_ND.mean(0)
    spread = centred.std(0)
    constant = spread <= 1e-7 * np.abs(values_ND).max(0)
    return np.where(constant, 0, centred / np.where(constant, 1, spread))


def regressed(values_ND: Array, others_ND: Array, ridge: float) -> Array:
    """What a ridge regression on the others leaves."""
    gram = others_ND.T @ others_ND / len(others_ND) + ridge * np.eye(others_ND.shape[1])
    return values_ND - others_ND @ np.linalg.solve(gram, others_ND.T @ values_ND / len(others_ND))


def hashed(values_ND: Array, directions_DR: Array, width: float, shifts: list[float]) -> list[tuple[int, ...]]:
    """A bucket for each sample."""
    coordinates = values_ND @ directions_DR if values_ND.shape[1] > directions_DR.shape[1] else values_ND
    spread = coordinates.std(0)
    scaled = np.where(spread > 1e-7, coordinates / np.where(spread > 1e-7, spread, 1), 0).clip(-CLIP, CLIP)
    return [
        tuple(math.floor((value + CLIP) / width + shift) for value, shift in zip(row, shifts, strict=False))
        for row in scaled.tolist()
    ]


def plug_in(x: list, y: list, z: list, divergence: str) -> float:
    """Counts in dictionaries, and the sum over every cell of the margins, less chance."""
    n_xyz, n_xz, n_yz, n_z = Counter(), Counter(), Counter(), Counter()
    for a, b, c in zip(x, y, z, strict=True):
        n_xyz[a, b, c] += 1
        n_xz[a, c] += 1
        n_yz[b, c] += 1
        n_z[c] += 1
    by_chance = chance(divergence, torch.device("cpu")).tolist()
    children: dict = {}
    for a, c in n_xz:
        children.setdefault(c, []).append(a)
    total = 0.0
    for (b, c), n_ik in n_yz.items():
        for a in children[c]:
            n, n_jk, n_k = n_xyz.get((a, b, c), 0), n_xz[a, c], n_z[c]
            expected = n_jk * (n_ik / n_k)
            if divergence == "geometric":
                term = (n - expected) ** 2 / (2 * (n + expected))
            else:
                term = n * math.log2(n / expected) if n else 0.0
            chance_here = by_chance[int(min(expected * STEPS + 0.5, LARGEST * STEPS))]
            total += term - chance_here * (1 - n_ik / n_k) * (1 - n_jk / n_k)
    return total / len(x)
