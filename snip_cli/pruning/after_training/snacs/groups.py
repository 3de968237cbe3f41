"""Groups of a layer's channels, between which connections are scored and pruned: consecutive blocks, as in the authors' code.

Shapes: G groups of the child's C output channels, H groups of the parent's channels, I inputs of the child.
"""

import torch
from torch import Tensor

Bounds = list[tuple[int, int]]


def group_bounds(channels: int, groups: int) -> Bounds:
    """(first channel, one past the last) of every group, in order.

    A block has ⌈channels / groups⌉ channels and the last one what is left, so that there may be fewer blocks than `groups`; 0 groups, or as
    many as channels or more, are one for each channel. The authors' code asks for groups that divide the channels, where this is the same.
    """
    assert channels > 0
    assert groups >= 0
    size = 1 if groups == 0 else -(-channels // groups)
    return [(start, min(start + size, channels)) for start in range(0, channels, size)]


def group_of_channels(bounds: Bounds) -> Tensor:
    """The group of every channel, int64."""
    return torch.arange(len(bounds)).repeat_interleave(torch.tensor([end - start for start, end in bounds]))


def each_connection(
    values_GH: Tensor, *, child_bounds: Bounds, parent_bounds: Bounds, inputs_per_channel: int
) -> Tensor:
    """The value of its two groups for every entry C×I of a linear weight, or every kernel of a convolution's.

    `inputs_per_channel` consecutive inputs of the child come from one channel of the parent.
    """
    children_C = group_of_channels(child_bounds)
    parents_I = group_of_channels(parent_bounds).repeat_interleave(inputs_per_channel)
    return values_GH[children_C][:, parents_I]
