"""The estimator of `acmi.py` for one pair, word by word: loops and dictionaries, nothing shared between pairs. The tests' reference and the bench's rival."""

import math
from collections import Counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from snip_cli.pruning.after_training.snacs.bandwidth import default_bandwidth, ensemble_bandwidths
from snip_cli.pruning.after_training.snacs.directions import selection_excess
from snip_cli.pruning.after_training.snacs.divergence import CURVATURE, LARGEST, STEPS, chance
from snip_cli.pruning.after_training.snacs.hashing import CLIP, RESOLUTION, Draw, draw_members

Array = NDArray[np.float64]


def plain_information(
    x_ND: Array, y_ND: Array, z_ND: Array, *, members: int = 10, seed: int = 0, **options: Any
) -> float:
    """`conditional_mutual_information`, with the same draws."""
    own, rest = y_ND.shape[1], z_ND.shape[1]
    draws = draw_members(members, own + rest, seed, torch.device("cpu"))
    return plain_pair(x_ND, y_ND, z_ND, draws, list(range(own, own + rest)), **options)


def plain_pair(
    x_ND: Array,
    y_ND: Array,
    z_ND: Array,
    draws: list[Draw],
    condition: list[int],
    *,
    divergence: str = "shannon",
    residual: bool = True,
    pairs: int = 1,
    bandwidth: float | None = None,
) -> float:
    """One pair of a layer: `condition` are z's channels in the parent layer."""
    x_ND, y_ND, z_ND = (standard(values) for values in (x_ND, y_ND, z_ND))
    sizes = x_ND.shape[1], y_ND.shape[1]
    varying = [int((values != 0).any(0).sum()) for values in (x_ND, y_ND)]
    width = bandwidth or default_bandwidth(len(x_ND))
    if residual:
        ridge = 0.1 * (sizes[1] + z_ND.shape[1]) / len(x_ND)
        x_ND, y_ND = regressed(x_ND, z_ND, ridge), regressed(y_ND, z_ND, ridge)
    directions = canonical(x_ND, y_ND)[: min(pairs, *sizes)]
    estimates = []
    for draw, member_width in zip(draws, ensemble_bandwidths(width, len(draws)).tolist(), strict=True):
        z_projected = z_ND @ draw.direction_C.numpy()[condition]
        spread = z_projected.std()
        z_hashed = hashed(z_projected / spread if spread > 1e-7 else 0 * z_projected, member_width, draw.shifts[2])
        total = 0.0
        for a, b in directions:
            x_hashed, y_hashed = (
                hashed(x_ND @ a, member_width, draw.shifts[0]),
                hashed(y_ND @ b, member_width, draw.shifts[1]),
            )
            total += plug_in(x_hashed, y_hashed, z_hashed, divergence)
        estimates.append(total - CURVATURE[divergence] * selection_excess(*varying, pairs) / len(x_ND))
    return float(np.median(estimates))


def canonical(x_ND: Array, y_ND: Array) -> list[tuple[Array, Array]]:
    """Pairs of directions of x and y, the most correlated first."""
    n = len(x_ND)
    factors = [
        np.linalg.cholesky(covariance + (1e-6 * np.diag(covariance).mean() + 1e-14) * np.eye(len(covariance)))
        for covariance in (x_ND.T @ x_ND / n, y_ND.T @ y_ND / n)
    ]
    inverses = [np.linalg.inv(factor) for factor in factors]
    u, _, v = np.linalg.svd(inverses[0] @ (x_ND.T @ y_ND / n) @ inverses[1].T, full_matrices=False)
    pairs = [(inverses[0].T @ a, inverses[1].T @ b) for a, b in zip(u.T, v, strict=True)]
    return [(a * np.sign(a[np.abs(a).argmax()]), b * np.sign(b[np.abs(b).argmax()])) for a, b in pairs]


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


def hashed(values_N: Array, width: float, shift: float) -> list[int]:
    """A bucket for each sample."""
    steps = [math.floor((value + CLIP) * RESOLUTION) for value in values_N.clip(-CLIP, CLIP).tolist()]
    return [math.floor(step / RESOLUTION / width + shift) for step in steps]


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
