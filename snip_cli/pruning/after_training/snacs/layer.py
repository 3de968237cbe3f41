"""All pairs of a layer, block by block: directions, hash, count, sum.

N samples, C channels, G child groups, H parent groups, P pairs of directions; B child, K condition, Y parent buckets.
"""

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor

from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs.directions import canonical_directions, selection_excess
from snip_cli.pruning.after_training.snacs.divergence import CURVATURE, parent_bucket_terms
from snip_cli.pruning.after_training.snacs.hashing import (
    Bounds,
    Draw,
    bucket_count,
    bucket_table,
    condition_values,
    quantised,
    standardised,
)
from snip_cli.pruning.after_training.snacs.phi import Phi
from snip_cli.pruning.after_training.snacs.residual import Residuals
from snip_cli.pruning.after_training.snacs.threads import each_in_threads

# Of child and of parent groups.
Block = tuple[slice, slice]

# Bytes that a pair of groups needs for a sample and for a cell of its table at the most, while it is worked on.
SAMPLE_BYTES = 64
CELL_BYTES = 64
# A larger table of one pair has far more cells than any data set has samples.
MOST_CELLS = 2**24


class Member:
    """One member of the ensemble: the numbers of child, condition and parent buckets (`shape`), and what a quantised value of each adds to a cell's number."""

    def __init__(self, width: float, draw: Draw, device: torch.device) -> None:
        self.draw = draw
        child, parent, condition = (bucket_count(width, shift) for shift in draw.shifts)
        self.shape = child, condition, parent
        tables = [bucket_table(width, shift, device) for shift in draw.shifts]
        self.child, self.parent, self.condition = tables[0] * (condition * parent), tables[1], tables[2] * parent


class Layer:
    """A child and a parent layer's groups, ready to be hashed."""

    def __init__(
        self,
        child_NC: Tensor,
        parent_NC: Tensor,
        child_bounds: Bounds,
        parent_bounds: Bounds,
        *,
        residual: bool,
        pairs: int,
    ) -> None:
        self.parent_NC = standardised(parent_NC)
        self.parent_bounds = parent_bounds
        child_NC = standardised(child_NC)
        self.child_sizes = varying_channels(child_NC, child_bounds)
        self.parent_sizes = varying_channels(self.parent_NC, parent_bounds)
        self.groups = Residuals(child_NC, self.parent_NC, child_bounds, parent_bounds, residual=residual)
        self.pairs = min(pairs, self.groups.child_GEN.shape[1], self.groups.parent_HDN.shape[1])

    def information(
        self, members: list[Member], *, divergence: str, phi: Phi | None, corrected: bool, memory_mb: int
    ) -> Tensor:
        """The median over the members, for every pair: [G, H]."""
        conditions = [self.condition_codes(member) for member in members]
        information_GH = self.parent_NC.new_empty(len(self.child_sizes), len(self.parent_sizes))

        def fill(block: Block) -> None:
            excess_HG = self.chance_of_selection(*block, memory_mb) * CURVATURE[divergence] / len(self.parent_NC)
            found_HG = self.block_information(
                block, members, conditions, divergence=divergence, phi=phi, corrected=corrected, excess_HG=excess_HG
            )
            information_GH[block] = found_HG.T

        blocks = self.blocks(max(prod(member.shape) for member in members), memory_mb * 2**20)
        each_in_threads(fill, blocks, self.parent_NC.device)
        return information_GH

    def block_information(
        self,
        block: Block,
        members: list[Member],
        conditions_HN: list[Tensor],
        *,
        divergence: str,
        phi: Phi | None,
        corrected: bool,
        excess_HG: Tensor,
    ) -> Tensor:
        """The same for the child and parent groups of a block, [H, G]; `excess_HG` is what choosing the directions adds by chance."""
        children, parents = block
        excess_HG11 = excess_HG[:, :, None, None]
        total_MHG = self.parent_NC.new_zeros(len(members), *excess_HG.shape)
        for number, (x_HGN, y_HGN) in enumerate(self.coordinates(children, parents)):
            x_steps_HGN, y_steps_HGN = quantised(x_HGN), quantised(y_HGN)
            for m, (member, condition_HN) in enumerate(zip(members, conditions_HN, strict=True)):
                bucket_HGN = looked_up(member.parent, y_steps_HGN) + condition_HN[parents, None]
                n_HGBKY = joint_counts(looked_up(member.child, x_steps_HGN), bucket_HGN, member.shape)
                terms_HGKY, by_chance_HGKY = parent_bucket_terms(n_HGBKY, divergence)
                if corrected:
                    terms_HGKY = terms_HGKY - by_chance_HGKY
                    if number == 0:
                        terms_HGKY = terms_HGKY - n_HGBKY.sum(2) * excess_HG11
                if phi is not None:
                    terms_HGKY = terms_HGKY * phi.factors(parents, children, bucket_HGN, n_HGBKY.sum(2))
                total_MHG[m] += terms_HGKY.sum((2, 3)) / len(self.parent_NC)
        return median(total_MHG)

    def condition_codes(self, member: Member) -> Tensor:
        """Each sample's condition bucket for every parent group, as it counts in a cell's number: [H, N], int32."""
        values_HN = condition_values(self.parent_NC, member.draw.direction_C, self.parent_bounds)
        return looked_up(member.condition, quantised(values_HN))

    def coordinates(self, children: slice, parents: slice) -> Iterator[tuple[Tensor, Tensor]]:
        """Child and parent coordinates of each pair of directions, [H, G, N] each ([H, 1, N] for parents of one channel)."""
        child_GEN, parent_HDN = self.groups.child_GEN[children], self.groups.parent_HDN[parents]
        slope_HGED = self.groups.slope_GEHD[children, :, parents].permute(2, 0, 1, 3)
        samples = child_GEN.shape[2]
        own_GEE = child_GEN @ child_GEN.mT / samples
        yy_H1DD = (parent_HDN @ parent_HDN.mT / samples)[:, None]
        rest_HGED = torch.einsum("gen,hdn->hged", child_GEN, parent_HDN) / samples
        xy_HGED = rest_HGED + slope_HGED @ yy_H1DD
        # cov(r + Sy) = cov(r) + S cov(y, r) + cov(r + Sy, y) S'.
        xx_HGEE = own_GEE + slope_HGED @ rest_HGED.mT + xy_HGED @ slope_HGED.mT
        x_HGPE, y_HGPD = canonical_directions(xx_HGEE, yy_H1DD.expand(*xy_HGED.shape[:2], -1, -1), xy_HGED, self.pairs)
        if parent_HDN.shape[1] == 1:
            y_HGPD = y_HGPD[:, :1]
        through_HGPD = x_HGPE @ slope_HGED
        for number in range(self.pairs):
            x_HGN = torch.bmm(x_HGPE[:, :, number].transpose(0, 1), child_GEN).transpose(0, 1).contiguous()
            x_HGN.baddbmm_(through_HGPD[:, :, number], parent_HDN)
            yield x_HGN, torch.bmm(y_HGPD[:, :, number], parent_HDN)

    def chance_of_selection(self, children: slice, parents: slice, memory_mb: int) -> Tensor:
        """How much of the squared correlation, times N, is owed to choosing the directions: [H, G]."""
        excess = [
            [selection_excess(child, parent, self.pairs, memory_mb=memory_mb) for child in self.child_sizes[children]]
            for parent in self.parent_sizes[parents]
        ]
        return torch.tensor(excess, dtype=torch.float64, device=self.parent_NC.device)

    def blocks(self, cells: int, memory: int) -> Iterator[Block]:
        """Child and parent groups that fit the memory together, for tables of `cells` cells: all children of several parents, or some of one parent's."""
        if cells > MOST_CELLS:
            raise ConfigError(f"A pair of groups has a table of {cells:,} cells: widen the bandwidth.")
        one = len(self.parent_NC) * SAMPLE_BYTES + cells * CELL_BYTES
        fit = max(1, min(memory // one, 2**31 // cells))
        groups, parents = len(self.child_sizes), len(self.parent_sizes)
        children_at_once, parents_at_once = min(fit, groups), max(1, fit // groups)
        for child in range(0, groups, children_at_once):
            for parent in range(0, parents, parents_at_once):
                last = min(child + children_at_once, groups), min(parent + parents_at_once, parents)
                yield slice(child, last[0]), slice(parent, last[1])


def varying_channels(standardised_NC: Tensor, bounds: Bounds) -> list[int]:
    """Channels of each group that are not constant."""
    varying_C = (standardised_NC != 0).any(0)
    return [int(varying_C[first:last].sum()) for first, last in bounds]


def looked_up(table: Tensor, steps: Tensor) -> Tensor:
    """table[steps]."""
    return table.index_select(0, steps.flatten()).view(steps.shape)


def joint_counts(child_HGN: Tensor, bucket_HGN: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Samples in each cell of every pair's table, [H, G, B, K, Y], int64, from what child and parent add to a cell's number; overwrites the first."""
    pairs = child_HGN.shape[:2]
    start_HG1 = torch.arange(prod(pairs), dtype=torch.int32, device=child_HGN.device).view(*pairs, 1) * prod(shape)
    key_HGN = child_HGN.add_(bucket_HGN).add_(start_HG1)
    return torch.bincount(key_HGN.flatten(), minlength=prod(pairs) * prod(shape)).view(*pairs, *shape)


def median(members_MHG: Tensor) -> Tensor:
    """The elementwise median; of an even number of members the mean of the two in the middle."""
    ordered = members_MHG.sort(0).values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
