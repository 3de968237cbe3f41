"""What a table of counts says: the divergence of a cell's count from what independence expects, and how much of that is chance.

B child buckets, K condition buckets, Y parent buckets, G child groups.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import log

import torch
from torch import Tensor

# Counts of at most 32 are where chance depends on the expected count; it is tabulated in steps of 1/256.
STEPS = 256
LARGEST = 32


def shannon(count: Tensor, expected: Tensor) -> Tensor:
    """N · r · g(t) of g(t) = t log2 t, t = count / expected: count · log2(count / expected), in bits; 0 where the count is 0."""
    return torch.xlogy(count, count / expected.clamp_min(1e-300)) / log(2)


def geometric(count: Tensor, expected: Tensor) -> Tensor:
    """N · r · g(t) of g(t) = (t - 1)² / (2 (t + 1)): (count - expected)² / (2 (count + expected)); an empty cell adds expected / 2, as g(0) = 1/2."""
    return (count - expected).square() / (2 * (count + expected)).clamp_min(1e-300)


DIVERGENCES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"shannon": shannon, "geometric": geometric}


@lru_cache
def chance(divergence: str, device: torch.device) -> Tensor:
    """What a cell's term comes to on average where its count is Poisson: expected count 0, 1/256, … 32 (float64, [8193]).

    Less its value at count = expected, which is 0. Towards 1/(2 ln 2) bits (Shannon) or 1/4 (geometric) with the expected count.
    """
    expected = torch.arange(LARGEST * STEPS + 1, dtype=torch.float64) / STEPS
    counts = torch.arange(6 * LARGEST, dtype=torch.float64)
    log_chance = torch.xlogy(counts, expected[:, None]) - expected[:, None] - torch.lgamma(counts + 1)
    term = DIVERGENCES[divergence](counts, expected[:, None])
    return (log_chance.exp() * term).sum(1).to(device)


def parent_bucket_terms(n_GBKY: Tensor, n_KY: Tensor, divergence: str) -> Tensor:
    """For each child group and each parent bucket within a condition bucket, N times its share of the information: [G, K, Y], float64.

    sum over child buckets j of n_ik n_jk / n_k · g(n_ijk n_k / (n_ik n_jk)), the inner sum of the plug-in estimator, less what chance
    alone would give it: a plug-in of sparse cells is far too large (results/snacs), and by how much depends on how many cells a pair fills. Of
    independent margins a cell's count has mean e = n_ik n_jk / n_k and variance e (1 - n_ik/n_k) (1 - n_jk/n_k); the table gives the term's
    mean at variance e, the two factors bring it to the cell's variance. For large counts and Shannon's g this is Miller and Madow's
    correction with every cell of the margins counted, (I - 1)(J - 1) / (2 N ln 2) for each condition bucket.
    """
    n_GBK1 = n_GBKY.sum(3, keepdim=True)
    n_K1 = n_KY.sum(1, keepdim=True).clamp_min(1)
    expected = n_GBK1 * (n_KY / n_K1)
    steps = expected.mul(STEPS).add_(0.5).clamp_max_(LARGEST * STEPS).long()
    by_chance = chance(divergence, n_GBKY.device).take(steps)
    by_chance *= 1 - n_KY / n_K1
    by_chance *= 1 - n_GBK1 / n_K1
    return (DIVERGENCES[divergence](n_GBKY, expected) - by_chance).sum(1)
