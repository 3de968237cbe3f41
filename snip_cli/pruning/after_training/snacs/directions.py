"""Along which directions a child and a parent group are looked at: those in which they depend on each other most, linearly.

A random direction of each, as the hash of EDGE has it, loses most: of two groups of 10 channels that share 3.2 bits it finds 0.01 (results/snacs). Canonical correlation
gives pairs of directions, each pair uncorrelated with the others; for Gaussian groups their information adds up to the groups'.

N samples, G child groups, H parent groups, E channels of a child, D of a parent group, P pairs of directions.
"""

from functools import lru_cache
from math import gcd

import torch
from torch import Tensor

from snip_cli.pruning.after_training.snacs.hashing import ROUNDING

# Added to a group's covariance, as a share of its mean variance: channels that are copies of each other stay invertible.
COPIES = 1e-6
# Drawn for `selection_excess`; a multiple of sixteen.
MATRICES = 2000


def canonical_directions(xx_EE: Tensor, yy_DD: Tensor, xy_ED: Tensor, pairs: int) -> tuple[Tensor, Tensor]:
    """The first canonical directions of X and of Y, [..., P, E] and [..., P, D], from their covariances ([..., E, E] and so on).

    In them the groups have standard deviation 1. A direction's largest entry is positive. Channels without variance get coordinates of 0.
    """
    x_factor_EE, y_factor_DD = whitening_factor(xx_EE), whitening_factor(yy_DD)
    white_ED = torch.linalg.solve_triangular(x_factor_EE, xy_ED, upper=False)
    white_ED = torch.linalg.solve_triangular(y_factor_DD.mT, white_ED, upper=True, left=False)
    u_EK, _, v_KD = torch.linalg.svd(white_ED, full_matrices=False)
    x_EP = torch.linalg.solve_triangular(x_factor_EE.mT, u_EK[..., :pairs], upper=True)
    y_DP = torch.linalg.solve_triangular(y_factor_DD.mT, v_KD[..., :pairs, :].mT, upper=True)
    return positive(x_EP.mT), positive(y_DP.mT)


def whitening_factor(covariance_DD: Tensor) -> Tensor:
    """The lower Cholesky factor of a covariance, made invertible."""
    size = covariance_DD.shape[-1]
    variance = covariance_DD.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    identity_DD = torch.eye(size, dtype=covariance_DD.dtype, device=covariance_DD.device)
    return torch.linalg.cholesky(covariance_DD + (COPIES * variance + ROUNDING**2) * identity_DD)


def positive(directions_PD: Tensor) -> Tensor:
    """The same directions, each with the sign that makes its largest entry positive."""
    largest = directions_PD.gather(-1, directions_PD.abs().argmax(-1, keepdim=True))
    return torch.where(largest < 0, -directions_PD, directions_PD)


@lru_cache
def selection_excess(child: int, parent: int, pairs: int, *, memory_mb: int = 32) -> float:
    """By how much the first canonical pairs of independent groups are more correlated than as many independent pairs: N times the mean sum of squared correlations, less 1 a pair.

    Groups of `child` and `parent` channels; the squared singular values of a Gaussian matrix (mean of 2,000 drawn). 0 for single channels, and where there are none.
    `memory_mb` bounds the matrices that are held at a time, and changes nothing else.
    """
    pairs = min(pairs, child, parent)
    if pairs == 0 or child == parent == 1:
        return 0.0
    generator = torch.Generator().manual_seed(0)
    sums = []
    for count in block_sizes(child * parent, memory_mb):
        matrices = torch.randn(count, child, parent, generator=generator, dtype=torch.float64)
        sums.append(torch.linalg.svdvals(matrices)[:, :pairs].square().sum(1))
    return torch.cat(sums).mean().item() - pairs


def block_sizes(entries: int, memory_mb: int) -> list[int]:
    """In blocks of how many the matrices of so many entries are drawn: what fits the memory, but one at the least.

    PyTorch draws sixteen normal numbers at a time, so that blocks of a multiple of sixteen are the numbers of a single one.
    """
    least = 16 // gcd(16, entries)
    one = 2 * 8 * entries  # bytes: the matrix, and the copy that its values are found in
    block = max(memory_mb * 2**20 // one // least, 1) * least
    return [min(block, MATRICES - first) for first in range(0, MATRICES, block)]
