"""The hash of the estimator and what its counts say: how wide buckets are, how coordinates fall into them, and how dependent counts are.

Tables are [..., B, K, Y]: B child, K condition and Y parent buckets. i, j, k number parent, child and condition buckets. N samples,
C parent channels, G child groups, H parent groups.
"""

from functools import lru_cache
from math import log, prod

import torch
from torch import Tensor

# Bucket width for one sample, in standard deviations (see `bucket_width`).
WIDTH = 6.0
# The narrowest and the widest member of the ensemble, relative to `bucket_width`.
SPREAD = (0.8, 1.2)
# Coordinates are clipped at so many standard deviations: the outermost buckets are open, and an outlier makes no further buckets.
CLIP = 3.0
# Coordinates are rounded down to so many steps a standard deviation.
RESOLUTION = 4096
# The chance level depends on the expected count for counts up to LARGEST, and is tabulated at so many places a count.
STEPS = 256
LARGEST = 32
# g''(1) / 2 for g(t) = t log2 t: what a degree of freedom adds by chance to N times the estimate, in bits.
CURVATURE = 1 / (2 * log(2))


def bucket_width(samples: int) -> float:
    """Return the width of a bucket in standard deviations of a coordinate: 6 · N^(-1/4) for N samples.

    -1/4 is EDGE's exponent -1/(1+d) (Noshad et al. 2018) for d = 3 coordinates, one each of X, Y and Z. The samples of a cell grow as
    N^(1/4) while the width falls, so bias and variance both vanish. A standardised Gaussian coordinate fills about 4.13 / width buckets,
    whether one dimension or a thousand lie behind it. The factor 6 is our choice, measured by `scripts/acmi_accuracy` (results/snacs): with
    N = 2,000 the width is 0.90, which gives about 5 buckets a coordinate and 20 samples a cell.
    """
    return WIDTH * samples ** (-1 / 4)


class Member:
    """One member of the ensemble: its random direction of the condition, its bucket counts, and its lookup tables.

    A table holds, for each quantised value, what it adds to the number of a cell. `shape` is (child, condition, parent) buckets.
    """

    def __init__(self, width: float, direction_C: Tensor, shifts: tuple[float, float, float]) -> None:
        self.direction_C = direction_C
        child, parent, condition = (bucket_count(width, shift) for shift in shifts)
        self.shape = child, condition, parent
        tables = [bucket_table(width, shift, direction_C.device) for shift in shifts]
        self.child, self.parent, self.condition = tables[0] * (condition * parent), tables[1], tables[2] * parent


def draw_ensemble(
    members: int, channels: int, seed: int, device: torch.device
) -> list[tuple[Tensor, tuple[float, float, float]]]:
    """Draw for every member a Gaussian direction of `channels` parents, and shifts of child, parent and condition in [0, 1) of a bucket.

    The draws are the same on every device.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw() -> tuple[Tensor, tuple[float, float, float]]:
        direction_C = torch.randn(channels, generator=generator, dtype=torch.float64)
        child, parent, condition = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        return direction_C.to(device), (child, parent, condition)

    return [draw() for _ in range(members)]


def ensemble_widths(width: float, members: int) -> list[float]:
    """Return the widths of an ensemble's members, evenly from 0.8 to 1.2 times `width`."""
    return (width * torch.linspace(*SPREAD, members, dtype=torch.float64)).tolist()


def quantise(values: Tensor) -> Tensor:
    """Return values in standard deviations, clipped at ±3, as int32 steps of 1/4096 from -3 up; every member looks up their buckets."""
    return (values * RESOLUTION).add_(CLIP * RESOLUTION).clamp_(0, 2 * CLIP * RESOLUTION).int()


def bucket_count(width: float, shift: float) -> int:
    """Return the number of buckets of one coordinate."""
    return int(2 * CLIP / width + shift) + 1


def bucket_table(width: float, shift: float, device: torch.device) -> Tensor:
    """Return the bucket of each quantised value, floor((value + 3) / width + shift), int32."""
    steps = torch.arange(int(2 * CLIP * RESOLUTION) + 1, dtype=torch.float64, device=device)
    return (steps / RESOLUTION / width + shift).int()


def look_up(table: Tensor, steps: Tensor) -> Tensor:
    """Return table[steps]."""
    return table.index_select(0, steps.flatten()).view(steps.shape)


def joint_counts(child_HGN: Tensor, bucket_HGN: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return the samples in each cell of every pair's table, int64 H×G×B×K×Y. The first argument is overwritten.

    `child_HGN` and `bucket_HGN` are what the child, and the parent with the condition, add to the number of a cell.
    """
    pairs = child_HGN.shape[:2]
    start_HG1 = torch.arange(prod(pairs), dtype=torch.int32, device=child_HGN.device).view(*pairs, 1) * prod(shape)
    key_HGN = child_HGN.add_(bucket_HGN).add_(start_HG1)
    return torch.bincount(key_HGN.flatten(), minlength=prod(pairs) * prod(shape)).view(*pairs, *shape)


def information_terms(n_BKY: Tensor) -> tuple[Tensor, Tensor]:
    """Return N times the information in each parent bucket within a condition bucket, and the part due to chance: [..., K, Y], in bits.

    The first is Σ_j n_ik n_jk / n_k · g(n_ijk n_k / (n_ik n_jk)) with g(t) = t log2 t, the inner sum of the plug-in estimate. With few
    samples a cell the plug-in is far too large, and by how much depends on how many cells a pair fills (results/snacs). If the margins are
    independent, a count has mean e = n_ik n_jk / n_k and variance e (1 - n_ik / n_k) (1 - n_jk / n_k). A table gives the mean of a
    term for variance e, and the two factors reduce it to the cell's. For large counts this is the correction of Miller and Madow with every
    cell of the margins counted: (I - 1) (J - 1) / (2 N ln 2) bits for each condition bucket.
    """
    n_BK1 = n_BKY.sum(-1, keepdim=True).double()
    n_KY = n_BKY.sum(-3).double()
    n_K1 = n_KY.sum(-1, keepdim=True).clamp_min_(1)
    share_KY = n_KY / n_K1
    steps = (n_BK1 * (share_KY * STEPS)[..., None, :, :]).add_(0.5).clamp_max_(LARGEST * STEPS).int()
    by_chance = look_up(chance_level(n_BKY.device), steps)
    by_chance = by_chance.mul_(1 - n_BK1 / n_K1[..., None, :, :]).sum(-3) * (1 - share_KY)
    # The logarithm of an expected count is a sum, so that every n log2 n can come from a table.
    of_cells = look_up(count_logarithms(int(n_K1.max()), n_BKY.device), n_BKY)
    of_child = (n_BKY * n_BK1.clamp_min(1).log2()).neg_().add_(of_cells).sum(-3)
    return of_child - n_KY * (n_KY.clamp_min(1) / n_K1).log2(), by_chance


@lru_cache(maxsize=8)
def count_logarithms(largest: int, device: torch.device) -> Tensor:
    """Return n log2 n for n = 0 … `largest`, float64."""
    count = torch.arange(largest + 1, dtype=torch.float64, device=device)
    return torch.xlogy(count, count) / log(2)


@lru_cache
def chance_level(device: torch.device) -> Tensor:
    """Return the mean of count · log2(count / expected) for Poisson counts, expected = 0, 1/256, … 32: float64 of 8,193, in bits.

    The values approach CURVATURE as the expected count grows.
    """
    expected = torch.arange(LARGEST * STEPS + 1, dtype=torch.float64)[:, None] / STEPS
    counts = torch.arange(6 * LARGEST, dtype=torch.float64)
    log_chance = torch.xlogy(counts, expected) - expected - torch.lgamma(counts + 1)
    terms = torch.xlogy(counts, counts / expected.clamp_min(1e-300)) / log(2)
    return (log_chance.exp() * terms).sum(1).to(device)
