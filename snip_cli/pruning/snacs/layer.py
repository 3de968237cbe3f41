"""One member of the ensemble, over all pairs of a layer: hash, count, sum.

N samples, C channels, G child groups, H parent groups, R coordinates of a child group, U = G·R; B child, K condition, Y parent buckets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn.functional import pad

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
from snip_cli.pruning.snacs.residual import Residuals

# Bytes that a pair needs for a sample of a coordinate and for a cell of its table at the most, while it is worked on.
SAMPLE_BYTES = 32
CELL_BYTES = 64
# A larger table of one pair has far more cells than any data set has samples.
MOST_CELLS = 2**24


@dataclass(frozen=True)
class Block:
    """Pairs that are worked on together: child groups first … last - 1 with parent groups."""

    children: slice
    parents: slice


@dataclass(frozen=True)
class ParentBuckets:
    """Each sample's (condition, parent) bucket as one number (int32), and the samples in each (float64), for every parent group."""

    bucket_HN: Tensor
    n_HKY: Tensor

    @property
    def cells(self) -> int:
        return prod(self.n_HKY.shape[1:])


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
        self.memory = memory_mb * 2**20
        self.residuals = Residuals(self.parent_NC, parent_bounds) if residual else None
        smallest = min(last - first for first, last in parent_bounds)
        sizes = {
            "child": max(last - first for first, last in child_bounds),
            "parent": max(last - first for first, last in parent_bounds),
            "condition": parent_NC.shape[1] - smallest,
        }
        self.coordinates = {name: min(size, coordinates) for name, size in sizes.items()}

    def information(self, draw: Draw, width: float, divergence: str, phi: Phi | None) -> Tensor:
        """This member's estimate for every pair, [G, H]."""
        parents = self.parent_buckets(draw, width)
        child = Child(self, draw, width)
        information_GH = self.child_NC.new_empty(len(self.child_bounds), len(self.parent_bounds))
        for block in self.blocks(child.cells * parents.cells):
            n_HGBKY = joint_counts(child.codes(block), child.cells, parents, block.parents)
            terms_HGKY = parent_bucket_terms(n_HGBKY, parents.n_HKY[block.parents, None], divergence)
            if phi is not None:
                terms_HGKY = terms_HGKY * phi.factors(block.parents, block.children, parents.bucket_HN, parents.n_HKY)
            information_GH[block.children, block.parents] = terms_HGKY.sum((2, 3)).T / len(self.child_NC)
        return information_GH

    def parent_buckets(self, draw: Draw, width: float) -> ParentBuckets:
        """The buckets of every parent group and of its condition."""
        own = (
            self.residuals.values
            if self.residuals
            else [self.parent_NC[:, slice(*pair)] for pair in self.parent_bounds]
        )
        conditions = condition_coordinates(self.parent_NC, draw.condition_CR, self.parent_bounds)
        shifts = (
            draw.parent_shift_R[: self.coordinates["parent"]],
            draw.condition_shift_R[: self.coordinates["condition"]],
        )
        buckets, counts = [], []
        for pair, parent_ND, condition_NR in zip(self.parent_bounds, own, conditions, strict=True):
            [parent_NR] = group_coordinates(parent_ND, draw.parent_CR[slice(*pair)], [(0, parent_ND.shape[1])])
            parent_N, parent_count = codes(parent_NR, width, shifts[0])
            condition_N, condition_count = codes(condition_NR, width, shifts[1])
            buckets.append(condition_N * parent_count + parent_N)
            count = torch.bincount(buckets[-1], minlength=condition_count * parent_count)
            counts.append(count.view(condition_count, parent_count).double())
        return ParentBuckets(torch.stack(buckets).int(), torch.stack(counts))

    def blocks(self, cells: int) -> Iterator[Block]:
        """Blocks of pairs that fit the memory together, for tables of `cells` cells: all children of several parents, or some of one parent's."""
        if cells > MOST_CELLS:
            raise ConfigError(
                f"A pair of groups has a table of {cells:,} cells: widen the bandwidth or take fewer coordinates."
            )
        one = self.coordinates["child"] * len(self.child_NC) * SAMPLE_BYTES + cells * CELL_BYTES
        pairs = max(1, min(self.memory // one, 2**31 // cells))
        groups, parents = len(self.child_bounds), len(self.parent_bounds)
        children_at_once = min(pairs, groups)
        parents_at_once = max(1, pairs // groups)
        for child in range(0, groups, children_at_once):
            for parent in range(0, parents, parents_at_once):
                last = min(child + children_at_once, groups), min(parent + parents_at_once, parents)
                yield Block(slice(child, last[0]), slice(parent, last[1]))


class Child:
    """The child groups' coordinates for one draw (those a group lacks are 0), less what the parents explain where that is taken out."""

    def __init__(self, layer: Layer, draw: Draw, width: float) -> None:
        self.size = layer.coordinates["child"]
        self.width = width
        self.residuals = layer.residuals
        shifts_R = draw.child_shift_R[: self.size]
        self.buckets = [bucket_count(width, shift) for shift in shifts_R.tolist()]
        self.cells = prod(self.buckets)
        groups = group_coordinates(layer.child_NC, draw.child_CR, layer.child_bounds)
        child_NU = torch.cat([pad(group, (0, self.size - group.shape[1])) for group in groups], dim=1)
        self.offset_U1 = (shifts_R + CLIP / width).repeat(len(groups))[:, None]
        if self.residuals is None:
            self.value_UN = child_NU.T.contiguous()
        else:
            self.residual = self.residuals.of_child(child_NU)
            self.value_UN = self.residual.value_UN

    def codes(self, block: Block) -> Tensor:
        """Each sample's bucket in each pair of the block, [H, G, N] (int32); H is 1 where the parents are not taken out: it is the same for all."""
        rows = slice(block.children.start * self.size, block.children.stop * self.size)
        value_UN, offset_U1 = self.value_UN[rows], self.offset_U1[rows]
        if self.residuals is None:
            scale_U1 = inverse_spread(value_UN.square().mean(1, keepdim=True)) / self.width
            return self.floored((value_UN * scale_U1).add_(offset_U1)[None])
        # One matrix product adds the parent group's own part and, by its row of ones, the offset.
        scale_HU1 = inverse_spread(self.residual.variance_HU1[block.parents, rows]) / self.width
        slope_HUD = self.residual.slope_HUD[block.parents, rows] * scale_HU1
        with_offset_HUE = torch.cat([slope_HUD, offset_U1.expand(len(slope_HUD), -1, 1)], dim=2)
        return self.floored(
            (value_UN * scale_HU1).baddbmm_(with_offset_HUE, self.residuals.with_ones_HEN[block.parents])
        )

    def floored(self, scaled_HUN: Tensor) -> Tensor:
        """Buckets from coordinates in units of a bucket, counted from the cut-off and shifted; overwrites them."""
        scaled_HGRN = scaled_HUN.unflatten(1, (-1, self.size))
        code_HGN = scaled_HGRN[:, :, 0].clamp_(0, self.buckets[0] - 0.5).int()
        for column, count in enumerate(self.buckets[1:], 1):
            code_HGN = code_HGN * count + scaled_HGRN[:, :, column].clamp_(0, count - 0.5).int()
        return code_HGN


def joint_counts(code_HGN: Tensor, child_cells: int, parents: ParentBuckets, of_parents: slice) -> Tensor:
    """Samples in each cell of every pair's table, [H, G, B, K, Y], int64."""
    bucket_H1N = parents.bucket_HN[of_parents, None]
    key_HGN = torch.add(bucket_H1N, code_HGN, alpha=parents.cells)
    pairs, cells = key_HGN.shape[:2], child_cells * parents.cells
    key_HGN += torch.arange(prod(pairs), dtype=torch.int32, device=key_HGN.device).view(*pairs, 1) * cells
    counts = torch.bincount(key_HGN.flatten(), minlength=prod(pairs) * cells)
    return counts.view(*pairs, child_cells, *parents.n_HKY.shape[1:])
