"""One member of the ensemble, over all pairs of a layer: hash, count, sum.

N samples, C channels, G child groups, H parent groups, R coordinates of a group, U = G·R; B child, K condition, Y parent buckets.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from snip_cli.pruning.snacs.divergence import parent_bucket_terms
from snip_cli.pruning.snacs.hashing import (
    CLIP,
    Bounds,
    Draw,
    bucket_count,
    codes,
    condition_coordinates,
    group_coordinates,
    standardised,
)
from snip_cli.pruning.snacs.phi import Phi
from snip_cli.pruning.snacs.residual import Residuals

# Bytes that a sample of a child coordinate and a cell of a table need at the most, while they are worked on.
SAMPLE_BYTES = 40
CELL_BYTES = 64


@dataclass(frozen=True)
class Buckets:
    """Of one parent group: its residual, each sample's (condition, parent) bucket as one number, and the samples in each [K, Y]."""

    parent_ND: Tensor
    bucket_N: Tensor
    n_KY: Tensor


class Layer:
    """The standardised activations of a child and a parent layer, and what does not change from member to member."""

    def __init__(
        self,
        child_NC: Tensor,
        parent_NC: Tensor,
        child_bounds: Bounds,
        parent_bounds: Bounds,
        *,
        residual: bool,
        coordinates: int,
        memory_mb: int,
    ) -> None:
        self.child_NC = standardised(child_NC)
        self.parent_NC = standardised(parent_NC)
        self.child_bounds = child_bounds
        self.parent_bounds = parent_bounds
        self.coordinates = coordinates
        self.memory = memory_mb * 2**20
        self.residuals = Residuals(self.parent_NC) if residual else None
        self.parents = [
            self.residuals.of_parent(first, last) if self.residuals else self.parent_NC[:, first:last]
            for first, last in parent_bounds
        ]

    @property
    def hashed_coordinates(self) -> int:
        """Coordinates of the largest child and parent group and the condition together."""
        child = max(last - first for first, last in self.child_bounds)
        parent = max(last - first for first, last in self.parent_bounds)
        return sum(min(size, self.coordinates) for size in (child, parent, self.parent_NC.shape[1] - parent))

    def information(self, draw: Draw, width: float, divergence: str, phi: Phi | None) -> Tensor:
        """This member's estimate for every pair, [G, H]."""
        parents = self.parent_buckets(draw, width)
        child_UN, slope_CU = self.child_columns(draw)
        shifts_R = draw.child_shift_R
        buckets = [bucket_count(width, shift) for shift in shifts_R.tolist()]
        largest = max(parent.n_KY.numel() for parent in parents)
        information_GH = child_UN.new_empty(len(self.child_bounds), len(parents))
        for first, last in self.chunks(torch.Size(buckets).numel() * largest):
            columns = slice(first * self.coordinates, last * self.coordinates)
            for h, parent in enumerate(parents):
                value_UN = child_UN[columns]
                if slope_CU is not None:
                    own_UD = slope_CU[slice(*self.parent_bounds[h]), columns].T
                    value_UN = torch.addmm(value_UN, own_UD, parent.parent_ND.T)
                code_GN = child_codes(value_UN, width, shifts_R, buckets)
                counts_GBKY = joint_counts(code_GN, torch.Size(buckets).numel(), parent)
                terms_GKY = parent_bucket_terms(counts_GBKY, parent.n_KY, divergence)
                if phi is not None:
                    terms_GKY = terms_GKY * phi.factors(h, (first, last), parent.bucket_N, parent.n_KY)
                information_GH[first:last, h] = terms_GKY.sum((1, 2)) / len(self.child_NC)
        return information_GH

    def parent_buckets(self, draw: Draw, width: float) -> list[Buckets]:
        """The buckets of every parent group and of its condition."""
        conditions = condition_coordinates(self.parent_NC, draw.condition_CR, self.parent_bounds)
        found = []
        for (first, last), parent_ND, condition_NR in zip(self.parent_bounds, self.parents, conditions, strict=True):
            [parent_NR] = group_coordinates(parent_ND, draw.parent_CR[first:last], [(0, last - first)])
            parent_N, parent_count = codes(parent_NR, width, draw.parent_shift_R)
            condition_N, condition_count = codes(condition_NR, width, draw.condition_shift_R)
            bucket_N = condition_N * parent_count + parent_N
            counts = torch.bincount(bucket_N, minlength=condition_count * parent_count)
            found.append(Buckets(parent_ND, bucket_N, counts.view(condition_count, parent_count).double()))
        return found

    def child_columns(self, draw: Draw) -> tuple[Tensor, Tensor | None]:
        """The child groups' coordinates (U×N, R to a group, the missing ones 0), and their slopes on the parents where these are taken out."""
        groups = group_coordinates(self.child_NC, draw.child_CR, self.child_bounds)
        padded = [torch.nn.functional.pad(group, (0, self.coordinates - group.shape[1])) for group in groups]
        child_NU = torch.cat(padded, dim=1)
        if self.residuals is None:
            return child_NU.T.contiguous(), None
        return self.residuals.of_child(child_NU)

    def chunks(self, cells: int) -> list[tuple[int, int]]:
        """Ranges of child groups that fit the memory at once, for tables of `cells` cells."""
        one = self.coordinates * len(self.child_NC) * SAMPLE_BYTES + cells * CELL_BYTES
        size = max(1, self.memory // one)
        groups = len(self.child_bounds)
        return [(first, min(first + size, groups)) for first in range(0, groups, size)]


def child_codes(value_UN: Tensor, width: float, shifts_R: Tensor, buckets: list[int]) -> Tensor:
    """The bucket of every child group in each sample, [G, N], as `hashing.codes` finds it for one."""
    spread_U1 = torch.linalg.vector_norm(value_UN, dim=1, keepdim=True) / value_UN.shape[1] ** 0.5
    scaled = (value_UN * torch.where(spread_U1 > 1e-9, 1 / spread_U1, 0.0)).clamp_(-CLIP, CLIP).add_(CLIP).div_(width)
    scaled_GRN = scaled.view(-1, len(buckets), value_UN.shape[1]).add_(shifts_R[:, None])
    code_GRN = scaled_GRN.long()
    code_GN = code_GRN[:, 0]
    for column, count in enumerate(buckets[1:], 1):
        code_GN = code_GN * count + code_GRN[:, column]
    return code_GN


def joint_counts(code_GN: Tensor, child_buckets: int, parent: Buckets) -> Tensor:
    """Samples in each cell of every child group's table, [G, B, K, Y], float64."""
    groups, cells = len(code_GN), child_buckets * parent.n_KY.numel()
    start_G1 = torch.arange(groups, device=code_GN.device)[:, None] * cells
    key_GN = code_GN * parent.n_KY.numel() + start_G1 + parent.bucket_N
    counts = torch.bincount(key_GN.flatten(), minlength=groups * cells)
    return counts.view(groups, child_buckets, *parent.n_KY.shape).double()
