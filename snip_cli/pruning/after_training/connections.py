"""Connections: all weights between a group of the parent's channels and a group of the child's. Each is scored and pruned as one.

Shapes: G groups of the child's C output channels, H groups of the parent's channels, I inputs of the child.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.after_training.layer_pairs import Pair, inputs_per_channel, parent_channels
from snip_cli.pruning.mask import Mask

# First channel of every group and the channel after its last.
Bounds = Sequence[tuple[int, int]]


def group_bounds(channels: int, groups: int) -> Bounds:
    """Split channels into consecutive blocks, as the authors' code of SNACS does.

    A block has ⌈channels / groups⌉ channels and the last block the remaining ones, so that there may be fewer blocks than `groups`. With 0
    groups, or at least as many as channels, each channel is a group. The authors' code requires groups that divide the channels; there both
    agree.
    """
    assert channels > 0
    assert groups >= 0
    size = 1 if groups == 0 else -(-channels // groups)
    return [(start, min(start + size, channels)) for start in range(0, channels, size)]


def group_sizes(bounds: Bounds) -> Tensor:
    """Return the number of channels of every group, int64."""
    return torch.tensor([end - start for start, end in bounds])


def group_of_channels(bounds: Bounds) -> Tensor:
    """Return the group of every channel, int64."""
    return torch.arange(len(bounds)).repeat_interleave(group_sizes(bounds))


@dataclass(frozen=True)
class GroupedPair:
    """A pair of layers with the groups of its channels. `inputs` of the child come from each channel of the parent."""

    pair: Pair
    child_bounds: Bounds
    parent_bounds: Bounds
    inputs: int

    @property
    def child(self) -> str:
        return self.pair.child

    @property
    def parent_channels(self) -> int:
        return self.parent_bounds[-1][1]

    def weight_counts(self, weight: Tensor) -> Tensor:
        """Return how many of the child's weights belong to each connection, int64 G×H."""
        kernel = weight[0, 0].numel() if weight.dim() > 2 else 1
        return group_sizes(self.child_bounds)[:, None] * group_sizes(self.parent_bounds) * self.inputs * kernel

    def mask(self, keep_GH: Tensor, weight: Tensor) -> Tensor:
        """Return the mask of the child's weight. An input that belongs to no connection is kept."""
        parents_I = group_of_channels(self.parent_bounds).repeat_interleave(self.inputs)
        keep_CI = keep_GH[group_of_channels(self.child_bounds)][:, parents_I]
        keep_CI = torch.cat([keep_CI, keep_CI.new_ones(len(keep_CI), weight.shape[1] - keep_CI.shape[1])], dim=1)
        return keep_CI.view(*keep_CI.shape, *(1,) * (weight.dim() - 2)).expand(weight.shape).clone()

    def block_sums(self, weight: Tensor) -> Tensor:
        """Return the sum of the child's weights (C×I×kernel) over each connection, G×H."""
        sums_CI = weight.flatten(2).sum(dim=2) if weight.dim() > 2 else weight
        children_C = group_of_channels(self.child_bounds).to(weight.device)
        parents_I = group_of_channels(self.parent_bounds).repeat_interleave(self.inputs).to(weight.device)
        rows_GI = sums_CI.new_zeros(len(self.child_bounds), sums_CI.shape[1]).index_add_(0, children_C, sums_CI)
        return rows_GI.new_zeros(len(rows_GI), len(self.parent_bounds)).index_add_(1, parents_I, rows_GI)

    def block_means(self, weight: Tensor) -> Tensor:
        """Return the mean of the child's weights over each connection, G×H.

        The authors' code takes the weights of channel j for group j, which is the same only where a group is one channel.
        """
        return self.block_sums(weight) / self.block_sums(torch.ones_like(weight))


def group_pair(model: nn.Module, pair: Pair, groups: int) -> GroupedPair:
    """Split the channels on each side of a pair into at most `groups` groups; with 0 each channel is a group."""
    return GroupedPair(
        pair,
        group_bounds(len(model.get_parameter(f"{pair.child}.weight")), groups),
        group_bounds(parent_channels(model, pair), groups),
        inputs_per_channel(model, pair),
    )


def connection_mask(model: nn.Module, kept: Mapping[str, Tensor], grouped: Iterable[GroupedPair]) -> Mask:
    """Return the mask over all prunable parameters that removes the connections that `kept` (by child, G×H) does not keep."""
    parameters = prunable_parameters(model)
    mask = {name: torch.ones(parameter.shape, dtype=torch.bool) for name, parameter in parameters.items()}
    for each in grouped:
        name = f"{each.child}.weight"
        mask[name] = each.mask(kept[each.child], parameters[name])
    return mask
