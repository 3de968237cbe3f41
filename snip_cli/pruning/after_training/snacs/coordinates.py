"""What the estimator hashes: one coordinate of the child, of the parent and of the condition for each pair of groups.

All other parents are the condition Z. I(X; Y | Z) = I(X - f(Z); Y - h(Z) | Z) for any f and h, because given Z both are shifts by
constants. A hash of hundreds of dimensions has to be so coarse that it loses most of what Z says about X and Y. So the linear part of it is
removed first by ridge regression, and the coarse buckets have only the rest to account for.

Child and parent groups are then projected on the directions in which they are correlated most: the first pair of canonical directions.
A random direction of each, as in the hash of EDGE, loses most: of two groups of 10 channels that share 3.2 bits it finds 0.01
(results/snacs).

N samples, C parent channels, U child channels, G child groups, H parent groups, E channels of the largest child group, D of the largest
parent group (smaller groups are padded with 0).
"""

from functools import lru_cache
from math import gcd

import torch
from torch import Tensor

from snip_cli.pruning.after_training.connections import Bounds

# A standard deviation below this counts as 0: relative to a channel's largest magnitude, and to a standardised channel's spread.
ROUNDING = 1e-7
# The ridge as a share of C / N, in units of a channel's variance. It prevents division by zero if channels are copies, or more than samples.
RIDGE = 0.1
# Added to a group's covariance, as a share of its mean variance, so that it can be inverted if channels are copies of each other.
COPIES = 1e-6
# How many matrices `selection_excess` draws: a multiple of sixteen.
MATRICES = 2000
# Largest memory of the matrices that `selection_excess` holds at once.
MEMORY_MB = 64


class Coordinates:
    """A layer pair's activations, ready to be projected: standardised, and with the linear part of the condition removed.

    `parent_HDN` holds the residuals of the parent groups. `child_GEN` holds the child groups less their regression on all parents. With
    the slopes of that regression, the residual of child group g without parent group h is child[g] + slope[g, :, h] · parent[h].
    One matrix inverse serves all groups (block inversion).
    """

    def __init__(self, child_NU: Tensor, parent_NC: Tensor, child_bounds: Bounds, parent_bounds: Bounds) -> None:
        child_NU, parent_NC = standardise(child_NU), standardise(parent_NC)
        samples, channels = parent_NC.shape
        self.parent_NC, self.parent_bounds = parent_NC, parent_bounds
        self.child_sizes = varying_channels(child_NU, child_bounds)
        self.parent_sizes = varying_channels(parent_NC, parent_bounds)
        ridge_CC = RIDGE * channels / samples * torch.eye(channels, dtype=torch.float64, device=parent_NC.device)
        precision_CC = torch.linalg.inv(parent_NC.T @ parent_NC / samples + ridge_CC)
        filtered_NC = parent_NC @ precision_CC
        slope_CU = precision_CC @ (parent_NC.T @ child_NU / samples)
        self.child_GEN = by_group(child_NU - parent_NC @ slope_CU, child_bounds)
        self.parent_HDN = by_group(torch.zeros_like(parent_NC), parent_bounds)
        self.slope_GEHD = child_NU.new_zeros(*self.child_GEN.shape[:2], *self.parent_HDN.shape[:2])
        for h, (first, last) in enumerate(parent_bounds):
            block_DD = precision_CC[first:last, first:last]
            self.parent_HDN[h, : last - first] = torch.linalg.solve(block_DD, filtered_NC[:, first:last].T)
            self.slope_GEHD[:, :, h, : last - first] = by_group(slope_CU[first:last], child_bounds)

    def project_pairs(self, children: slice, parents: slice) -> tuple[Tensor, Tensor]:
        """Return the child's and the parent's coordinate of each pair of groups, H×G×N each (H×1×N for parents of one channel)."""
        child_GEN, parent_HDN = self.child_GEN[children], self.parent_HDN[parents]
        slope_HGED = self.slope_GEHD[children, :, parents].permute(2, 0, 1, 3)
        samples = child_GEN.shape[2]
        own_GEE = child_GEN @ child_GEN.mT / samples
        yy_H1DD = (parent_HDN @ parent_HDN.mT / samples)[:, None]
        rest_HGED = torch.einsum("gen,hdn->hged", child_GEN, parent_HDN) / samples
        xy_HGED = rest_HGED + slope_HGED @ yy_H1DD
        # cov(r + Sy) = cov(r) + S cov(y, r) + cov(r + Sy, y) S'.
        xx_HGEE = own_GEE + slope_HGED @ rest_HGED.mT + xy_HGED @ slope_HGED.mT
        x_HG1E, y_HG1D = canonical_directions(xx_HGEE, yy_H1DD.expand(*xy_HGED.shape[:2], -1, -1), xy_HGED)
        if parent_HDN.shape[1] == 1:
            y_HG1D = y_HG1D[:, :1]
        x_HGN = torch.bmm(x_HG1E[:, :, 0].transpose(0, 1), child_GEN).transpose(0, 1).contiguous()
        x_HGN.baddbmm_((x_HG1E @ slope_HGED)[:, :, 0], parent_HDN)
        return x_HGN, torch.bmm(y_HG1D[:, :, 0], parent_HDN)

    def project_condition(self, direction_C: Tensor) -> Tensor:
        """Return, for every parent group, all other parents projected on a direction: H×N, with standard deviation 1."""
        own_HN = torch.stack(
            [self.parent_NC[:, first:last] @ direction_C[first:last] for first, last in self.parent_bounds]
        )
        rest_HN = self.parent_NC @ direction_C - own_HN
        return rest_HN * inverse_spread(rest_HN.square().mean(1, keepdim=True))

    def selection_excess(self, children: slice, parents: slice) -> Tensor:
        """Return `selection_excess` of each pair of groups, H×G."""
        excess = [
            [selection_excess(child, parent) for child in self.child_sizes[children]]
            for parent in self.parent_sizes[parents]
        ]
        return torch.tensor(excess, dtype=torch.float64, device=self.parent_NC.device)


def standardise(values_NC: Tensor) -> Tensor:
    """Return every channel with mean 0 and standard deviation 1, in float64; a constant channel becomes 0."""
    values = values_NC.double()
    values = values / values.abs().amax(0).clamp_min(torch.finfo(torch.float64).tiny)
    values -= values.mean(0)
    return values * inverse_spread(values.square().mean(0))


def inverse_spread(variance: Tensor) -> Tensor:
    """Return 1 / standard deviation, and 0 for a variance that is only rounding."""
    return torch.where(variance > ROUNDING**2, variance.rsqrt(), 0.0)


def varying_channels(standardised_NC: Tensor, bounds: Bounds) -> list[int]:
    """Return the number of channels in each group that are not constant."""
    varying_C = (standardised_NC != 0).any(0)
    return [int(varying_C[first:last].sum()) for first, last in bounds]


def by_group(values_NC: Tensor, bounds: Bounds) -> Tensor:
    """Return the columns by group: H×D×N, smaller groups padded with 0."""
    size = max(last - first for first, last in bounds)
    groups_HDN = values_NC.new_zeros(len(bounds), size, len(values_NC))
    for group_DN, (first, last) in zip(groups_HDN, bounds, strict=True):
        group_DN[: last - first] = values_NC[:, first:last].T
    return groups_HDN


def canonical_directions(xx_EE: Tensor, yy_DD: Tensor, xy_ED: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first canonical directions of X and Y, [..., 1, E] and [..., 1, D], from their covariances ([..., E, E] and so on).

    Along them the groups have standard deviation 1. The largest entry of a direction is positive. Channels without variance give
    coordinates of 0.
    """
    x_factor_EE, y_factor_DD = whitening_factor(xx_EE), whitening_factor(yy_DD)
    white_ED = torch.linalg.solve_triangular(x_factor_EE, xy_ED, upper=False)
    white_ED = torch.linalg.solve_triangular(y_factor_DD.mT, white_ED, upper=True, left=False)
    u_EK, _, v_KD = torch.linalg.svd(white_ED, full_matrices=False)
    x_E1 = torch.linalg.solve_triangular(x_factor_EE.mT, u_EK[..., :1], upper=True)
    y_D1 = torch.linalg.solve_triangular(y_factor_DD.mT, v_KD[..., :1, :].mT, upper=True)
    return largest_positive(x_E1.mT), largest_positive(y_D1.mT)


def whitening_factor(covariance_DD: Tensor) -> Tensor:
    """Return the lower Cholesky factor of a covariance, made invertible."""
    size = covariance_DD.shape[-1]
    variance = covariance_DD.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    identity_DD = torch.eye(size, dtype=covariance_DD.dtype, device=covariance_DD.device)
    return torch.linalg.cholesky(covariance_DD + (COPIES * variance + ROUNDING**2) * identity_DD)


def largest_positive(directions_1D: Tensor) -> Tensor:
    """Return the same directions, each with the sign that makes its largest entry positive."""
    largest = directions_1D.gather(-1, directions_1D.abs().argmax(-1, keepdim=True))
    return torch.where(largest < 0, -directions_1D, directions_1D)


@lru_cache
def selection_excess(child: int, parent: int) -> float:
    """Return how much more correlated the first canonical directions of independent groups are than independent coordinates.

    The unit is N times the squared correlation: the mean square of the largest singular value of a Gaussian matrix of `child` × `parent`
    channels (2,000 are drawn), less 1. It is 0 for two single channels, and if either group has no channel.
    """
    if min(child, parent) == 0 or child == parent == 1:
        return 0.0
    generator = torch.Generator().manual_seed(0)
    squares = []
    for count in block_sizes(child * parent):
        matrices = torch.randn(count, child, parent, generator=generator, dtype=torch.float64)
        squares.append(torch.linalg.svdvals(matrices)[:, 0].square())
    return torch.cat(squares).mean().item() - 1


def block_sizes(entries: int) -> list[int]:
    """Return in blocks of how many to draw the matrices of so many entries: what fits the memory, but at least one block of sixteen numbers.

    PyTorch draws sixteen normal numbers at a time, so that blocks of a multiple of sixteen numbers equal a single draw.
    """
    least = 16 // gcd(16, entries)
    one = 2 * 8 * entries  # bytes: the matrix, and the copy that its singular values are computed in
    block = max(MEMORY_MB * 2**20 // one // least, 1) * least
    return [min(block, MATRICES - first) for first in range(0, MATRICES, block)]
