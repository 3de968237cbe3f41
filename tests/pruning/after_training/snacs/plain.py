"""The estimator of `acmi.py` for one pair, written as loops over dictionaries: the reference of the tests and the rival of the benchmark."""

import math
from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snip_cli.pruning.after_training.snacs.buckets import CLIP, CURVATURE, LARGEST, RESOLUTION, STEPS, chance_level
from snip_cli.pruning.after_training.snacs.coordinates import MATRICES, RIDGE

Array = NDArray[np.float64]
# Of one member: a direction of all parents, and shifts of child, parent and condition.
Draw = tuple[Tensor, tuple[float, float, float]]


def plain_pair(x_ND: Array, y_ND: Array, z_ND: Array, draws: list[Draw], condition: list[int]) -> float:
    """Return the information of one pair of a layer; `condition` are z's channels in the parent layer."""
    varying, x_ND, y_ND, z_ND = prepared(x_ND, y_ND, z_ND)
    [(a, b), *_] = canonical(x_ND, y_ND)
    estimates = []
    for (direction_C, shifts), width in zip(draws, np.linspace(0.8, 1.2, len(draws)), strict=True):
        width *= 6 * len(x_ND) ** -0.25
        z_hashed = hashed(projected(z_ND, direction_C.numpy()[condition]), width, shifts[2])
        x_hashed, y_hashed = hashed(x_ND @ a, width, shifts[0]), hashed(y_ND @ b, width, shifts[1])
        information = plug_in(x_hashed, y_hashed, z_hashed)
        estimates.append(information - CURVATURE * selection_excess(*varying, 1) / len(x_ND))
    return float(np.median(estimates))


def prepared(
    x_ND: Array, y_ND: Array, z_ND: Array, *, residual: bool = True
) -> tuple[tuple[int, int], Array, Array, Array]:
    """Return how many channels of x and y vary; x and y, if `residual` without what z explains linearly; and z. All are standardised."""
    x_ND, y_ND, z_ND = (standard(values) for values in (x_ND, y_ND, z_ND))
    varying = int((x_ND != 0).any(0).sum()), int((y_ND != 0).any(0).sum())
    if not residual:
        return varying, x_ND, y_ND, z_ND
    ridge = RIDGE * (y_ND.shape[1] + z_ND.shape[1]) / len(x_ND)
    return varying, regressed(x_ND, z_ND, ridge), regressed(y_ND, z_ND, ridge), z_ND


def canonical(x_ND: Array, y_ND: Array) -> list[tuple[Array, Array]]:
    """Return pairs of directions of x and y, the most correlated first."""
    n = len(x_ND)
    factors = [
        np.linalg.cholesky(covariance + (1e-6 * np.diag(covariance).mean() + 1e-14) * np.eye(len(covariance)))
        for covariance in (x_ND.T @ x_ND / n, y_ND.T @ y_ND / n)
    ]
    inverses = [np.linalg.inv(factor) for factor in factors]
    u, _, v = np.linalg.svd(inverses[0] @ (x_ND.T @ y_ND / n) @ inverses[1].T, full_matrices=False)
    pairs = [(inverses[0].T @ a, inverses[1].T @ b) for a, b in zip(u.T, v, strict=True)]
    return [(a * np.sign(a[np.abs(a).argmax()]), b * np.sign(b[np.abs(b).argmax()])) for a, b in pairs]


def selection_excess(child: int, parent: int, pairs: int) -> float:
    """Return N times the sum of squared correlations of the first canonical pairs of independent groups, less 1 a pair."""
    pairs = min(pairs, child, parent)
    if pairs == 0 or child == parent == 1:
        return 0.0
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(MATRICES, child, parent, generator=generator, dtype=torch.float64)
    return torch.linalg.svdvals(matrices)[:, :pairs].square().sum(1).mean().item() - pairs


def standard(values_ND: Array) -> Array:
    """Return every column with mean 0 and standard deviation 1; a constant column becomes 0."""
    centred = values_ND - values_ND.mean(0)
    spread = centred.std(0)
    constant = spread <= 1e-7 * np.abs(values_ND).max(0)
    return np.where(constant, 0, centred / np.where(constant, 1, spread))


def regressed(values_ND: Array, others_ND: Array, ridge: float) -> Array:
    """Return the residuals of a ridge regression on the others."""
    gram = others_ND.T @ others_ND / len(others_ND) + ridge * np.eye(others_ND.shape[1])
    return values_ND - others_ND @ np.linalg.solve(gram, others_ND.T @ values_ND / len(others_ND))


def projected(values_ND: Array, direction_D: Array) -> Array:
    """Return the projection on a direction with standard deviation 1; 0 if it is constant."""
    values_N = values_ND @ direction_D
    spread = values_N.std()
    return values_N / spread if spread > 1e-7 else 0 * values_N


def hashed(values_N: Array, width: float, shift: float) -> list[int]:
    """Return the bucket of each sample."""
    steps = [math.floor((value + CLIP) * RESOLUTION) for value in values_N.clip(-CLIP, CLIP).tolist()]
    return [math.floor(step / RESOLUTION / width + shift) for step in steps]


def plug_in(x: list[int], y: list[int], z: list[int]) -> float:
    """Return the sum over every cell of the margins, less chance, from counts in dictionaries."""
    n_xyz, n_xz, n_yz, n_z = Counter(), Counter(), Counter(), Counter()
    for a, b, c in zip(x, y, z, strict=True):
        n_xyz[a, b, c] += 1
        n_xz[a, c] += 1
        n_yz[b, c] += 1
        n_z[c] += 1
    by_chance = chance_level(torch.device("cpu")).tolist()
    children: dict[int, list[int]] = {}
    for a, c in n_xz:
        children.setdefault(c, []).append(a)
    total = 0.0
    for (b, c), n_ik in n_yz.items():
        for a in children[c]:
            n, n_jk, n_k = n_xyz.get((a, b, c), 0), n_xz[a, c], n_z[c]
            expected = n_jk * (n_ik / n_k)
            chance_here = by_chance[int(min(expected * STEPS + 0.5, LARGEST * STEPS))]
            total += (n * math.log2(n / expected) if n else 0.0) - chance_here * (1 - n_ik / n_k) * (1 - n_jk / n_k)
    return total / len(x)
