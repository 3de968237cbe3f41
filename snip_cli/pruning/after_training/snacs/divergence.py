"""What a table of counts says: how far the counts are from what independence expects, and how much of that is chance.

Tables [..., B, K, Y] of child, condition and parent buckets, of any number of pairs; i, j, k number parent, child and condition buckets.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import log

import torch
from torch import Tensor

# Expected counts up to 32 are where chance depends on them; it is tabulated in steps of 1/256.
STEPS = 256
LARGEST = 32

# g''(1) / 2 in the divergence's unit: what a degree of freedom adds by chance to N times the estimate.
CURVATURE = {"shannon": 1 / (2 * log(2)), "geometric": 1 / 4}


def shannon(count: Tensor, expected: Tensor) -> Tensor:
    """count · log2(count / expected), N times the term of g(t) = t log2 t: bits; 0 where the count is 0."""
    return torch.xlogy(count, count / expected.clamp_min(1e-300)) / log(2)


def geometric(count: Tensor, expected: Tensor) -> Tensor:
    """(count - expected)² / (2 (count + expected)), N times the term of g(t) = (t - 1)² / (2 (t + 1)); an empty cell gives expected / 2, as g(0) = 1/2."""
    return (count - expected).square() / (2 * (count + expected)).clamp_min(1e-300)


def geometric_sum(n_BKY: Tensor, n_BK1: Tensor, n_KY: Tensor, n_K1: Tensor) -> Tensor:
    """The terms summed over the child's buckets, [..., K, Y]."""
    return geometric(n_BKY.double(), n_BK1 * (n_KY / n_K1)[..., None, :, :]).sum(-3)


def shannon_sum(n_BKY: Tensor, n_BK1: Tensor, n_KY: Tensor, n_K1: Tensor) -> Tensor:
    """The terms summed over the child's buckets, [..., K, Y]: by n log2 n from a table, as the logarithm of the expected count is a sum."""
    by_count = count_logarithms(int(n_K1.max()), n_BKY.device)
    of_cells = by_count.index_select(0, n_BKY.flatten()).view(n_BKY.shape)
    of_child = (n_BKY * n_BK1.clamp_min(1).log2()).neg_().add_(of_cells).sum(-3)
    return of_child - n_KY * (n_KY.clamp_min(1) / n_K1).log2()


@lru_cache(maxsize=8)
def count_logarithms(largest: int, device: torch.device) -> Tensor:
    """n log2 n for n = 0 … `largest`, float64."""
    count = torch.arange(largest + 1, dtype=torch.float64, device=device)
    return torch.xlogy(count, count) / log(2)


# Name -> the term of one cell, and its sum over the child's buckets.
DIVERGENCES: Mapping[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "shannon": (shannon, shannon_sum),
    "geometric": (geometric, geometric_sum),
}


@lru_cache
def chance(divergence: str, device: torch.device) -> Tensor:
    """A cell's mean term where its count is Poisson, for expected counts 0, 1/256, … 32 (float64, [8193]); towards `CURVATURE` as they grow."""
    expected = torch.arange(LARGEST * STEPS + 1, dtype=torch.float64)[:, None] / STEPS
    counts = torch.arange(6 * LARGEST, dtype=torch.float64)
    log_chance = torch.xlogy(counts, expected) - expected - torch.lgamma(counts + 1)
    term = DIVERGENCES[divergence][0]
    return (log_chance.exp() * term(counts, expected)).sum(1).to(device)


def parent_bucket_terms(n_BKY: Tensor, divergence: str) -> tuple[Tensor, Tensor]:
    """N times the information in each parent bucket within a condition bucket, and the part of it that chance alone gives, both [..., K, Y], from int64 counts.

    The first is sum_j n_ik n_jk / n_k · g(n_ijk n_k / (n_ik n_jk)), the inner sum of the plug-in. With few samples a cell the plug-in is far too
    large, and by how much depends on how many cells a pair fills (results/snacs). With independent margins a count has mean e = n_ik n_jk / n_k and variance
    e (1 - n_ik / n_k) (1 - n_jk / n_k): a table gives a term's mean at variance e, and the two factors bring it down to the cell's. For large
    counts and Shannon's g this is the correction of Miller and Madow with every cell of the margins counted, (I - 1) (J - 1) / (2 N ln 2) bits for
    each condition bucket.
    """
    n_BK1 = n_BKY.sum(-1, keepdim=True).double()
    n_KY = n_BKY.sum(-3).double()
    n_K1 = n_KY.sum(-1, keepdim=True).clamp_min_(1)
    share_KY = n_KY / n_K1
    steps = (n_BK1 * (share_KY * STEPS)[..., None, :, :]).add_(0.5).clamp_max_(LARGEST * STEPS).int()
    by_chance = chance(divergence, n_BKY.device).index_select(0, steps.flatten()).view(steps.shape)
    by_chance = by_chance.mul_(1 - n_BK1 / n_K1[..., None, :, :]).sum(-3) * (1 - share_KY)
    return DIVERGENCES[divergence][1](n_BKY, n_BK1, n_KY, n_K1), by_chance
