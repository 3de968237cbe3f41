"""One member of the ensemble, over all pairs of a layer: hash, count, sum.

N samples, C channels, G child groups, H parent groups, R coordinates of a child group, U = G·R, D channels of one parent group; B child, K condition,
Y parent buckets.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from snip_cli.errors import ConfigError
from snip_cli.pruning.snacs.divergence import parent_bucket_terms
from snip_cli.pruning.snacs.hashing import (
    CLIP,
    Bounds,
    Draw,
    bucket_count,
    codes,
    condition_coordinates,
    group_coordinates,
    inverse_spread,
    standardised,
)
from snip_cli.pruning.snacs.phi import Phi
from snip_cli.pruning.snacs.residual import ParentResidual, Residuals

# Bytes that a sample of a child coordinate and a cell of a table need at the most while they are worked on.
SAMPLE_BYTES = 32
CELL_BYTES = 64
# A pair's table larger than this has far more cells than any data set samples.
MOST_CELLS = 2**24


@dataclass(frozen=True)
class Buckets:
    """Of one parent group: each sample's (condition, parent) bucket as one number (int32), and the samples in each, [K, Y] (float64)."""

    bucket_N: Tensor
    n_KY: Tensor


@dataclass(frozen=True)
class Grid:
    """The buckets of the child's coordinates: their width in standard deviations, shifts, and numbers."""

    width: float
    shifts: list[float]

    @property
    def counts(self) -> list[int]:
        return [bucket_count(self.width, shift) for shift in self.shifts]

    def codes(self, scaled_UN: Tensor) -> Tensor:
        """Each sample's bucket, [G, N] (int32), from coordinates in units of `width`, shifted and counted from the cut-off; overwrites them."""
        scaled_GRN = scaled_UN.view(-1, len(self.shifts), scaled_UN.shape[1])
        code_GN: Tensor | None = None
        for column, count in enumerate(self.counts):
            code = scaled_GRN[:, column].clamp_(0, count - 0.5).int()
            code_GN = code if code_GN is None else code_GN * count + code
        assert code_GN is not None
        return code_GN


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
        self.child_size = max(last - first for first, last in child_bounds)
        self.parent_size = max(last - first for first, last in parent_bounds)
        self.child_coordinates = min(coordinates, self.child_size)
        self.coordinates = coordinates
        self.memory = memory_mb * 2**20
        self.residuals = Residuals(self.parent_NC, parent_bounds) if residual else None

    @property
    def hashed_coordinates(self) -> int:
        """Coordinates of the largest child and parent group and of the condition, together."""
        sizes = self.child_size, self.parent_size, self.parent_NC.shape[1] - self.parent_size
        return sum(min(size, self.coordinates) for size in sizes)

    def information(self, draw: Draw, width: float, divergence: str, phi: Phi | None) -> Tensor:
        """This member's estimate for every pair, [G, H]."""
        parents = self.parent_buckets(draw, width)
        grid = Grid(width, draw.child_shift_R[: self.child_coordinates].tolist())
        child = Child(self, draw, grid)
        information_GH = self.child_NC.new_empty(len(self.child_bounds), len(parents))
        for first, last in self.chunks(prod(grid.counts) * max(parent.n_KY.numel() for parent in parents)):
            own_codes = child.codes(first, last)
            for h, parent in enumerate(parents):
                code_GN = own_codes if own_codes is not None else child.codes_without(h, first, last)
                terms_GKY = parent_bucket_terms(
                    joint_counts(code_GN, prod(grid.counts), parent), parent.n_KY, divergence
                )
                if phi is not None:
                    terms_GKY = terms_GKY * phi.factors(h, (first, last), parent.bucket_N, parent.n_KY)
                information_GH[first:last, h] = terms_GKY.sum((1, 2)) / len(self.child_NC)
        return information_GH

    def parent_buckets(self, draw: Draw, width: float) -> list[Buckets]:
        """The buckets of every parent group and of its condition."""
        conditions = condition_coordinates(self.parent_NC, draw.condition_CR, self.parent_bounds)
        found = []
        for h, ((first, last), condition_NR) in enumerate(zip(self.parent_bounds, conditions, strict=True)):
            parent_ND = self.residuals.parents[h].value_ND if self.residuals else self.parent_NC[:, first:last]
            [parent_NR] = group_coordinates(parent_ND, draw.parent_CR[first:last], [(0, last - first)])
            parent_N, parent_count = codes(parent_NR, width, draw.parent_shift_R)
            condition_N, condition_count = codes(condition_NR, width, draw.condition_shift_R)
            bucket_N = condition_N * parent_count + parent_N
            counts = torch.bincount(bucket_N, minlength=condition_count * parent_count)
            found.append(Buckets(bucket_N.int(), counts.view(condition_count, parent_count).double()))
        return found

    def chunks(self, cells: int) -> list[tuple[int, int]]:
        """Ranges of child groups that fit the memory together, for tables of `cells` cells."""
        if cells > MOST_CELLS:
            raise ConfigError(
                f"A pair of groups has a table of {cells:,} cells: widen the bandwidth or take fewer coordinates."
            )
        one = self.child_coordinates * len(self.child_NC) * SAMPLE_BYTES + cells * CELL_BYTES
        size = max(1, min(self.memory // one, 2**31 // cells))
        groups = len(self.child_bounds)
        return [(first, min(first + size, groups)) for first in range(0, groups, size)]


class Child:
    """The child groups' coordinates for one draw (U×N; R to a group, those it lacks 0), less what the parents explain where that is taken out."""

    def __init__(self, layer: Layer, draw: Draw, grid: Grid) -> None:
        self.layer = layer
        self.grid = grid
        groups = group_coordinates(layer.child_NC, draw.child_CR, layer.child_bounds)
        child_NU = torch.cat([F.pad(group, (0, layer.child_coordinates - group.shape[1])) for group in groups], dim=1)
        shifts_U = (draw.child_shift_R[: layer.child_coordinates] + CLIP / grid.width).repeat(len(groups))
        self.offset_U1 = shifts_U[:, None]
        if layer.residuals is None:
            self.value_UN = child_NU.T.contiguous()
        else:
            self.value_UN, self.slopes = layer.residuals.of_child(child_NU)

    def columns(self, first: int, last: int) -> slice:
        """Rows of the groups first … last - 1."""
        return slice(first * self.layer.child_coordinates, last * self.layer.child_coordinates)

    def codes(self, first: int, last: int) -> Tensor | None:
        """Buckets of these groups' own values; none where the parents are taken out, as every parent group then leaves others."""
        if self.layer.residuals is not None:
            return None
        value_UN = self.value_UN[self.columns(first, last)]
        scale_U1 = inverse_spread(value_UN.square().mean(1, keepdim=True)) / self.grid.width
        return self.grid.codes(torch.addcmul(self.offset_U1[self.columns(first, last)], value_UN, scale_U1))

    def codes_without(self, h: int, first: int, last: int) -> Tensor:
        """Buckets of these groups, less their regression on the parents outside group `h`: one matrix product adds the group's part and the offset."""
        rows = self.columns(first, last)
        slope_UD, variance_U1 = (tensor[rows] for tensor in self.slopes[h])
        scale_U1 = inverse_spread(variance_U1) / self.grid.width
        own_UE = torch.cat([slope_UD * scale_U1, self.offset_U1[rows]], dim=1)
        assert self.layer.residuals is not None
        parent: ParentResidual = self.layer.residuals.parents[h]
        return self.grid.codes(torch.mul(self.value_UN[rows], scale_U1).addmm_(own_UE, parent.with_ones_EN))


def joint_counts(code_GN: Tensor, child_buckets: int, parent: Buckets) -> Tensor:
    """Samples in each cell of every child group's table, [G, B, K, Y], int64."""
    groups, cells = len(code_GN), parent.n_KY.numel()
    key_GN = torch.add(parent.bucket_N, code_GN, alpha=cells)
    key_GN += torch.arange(groups, dtype=torch.int32, device=code_GN.device)[:, None] * (child_buckets * cells)
    counts = torch.bincount(key_GN.flatten(), minlength=groups * child_buckets * cells)
    return counts.view(groups, child_buckets, *parent.n_KY.shape)
