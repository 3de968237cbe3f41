"""Which filters to protect from pruning: those on which the next layer depends most (the sensitivity criterion of SNACS).

Shapes: a layer's C output channels in G groups, the next layer's D output channels and I inputs.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from snip_cli.pruning.after_training.connections import GroupedPair, group_of_channels, group_sizes
from snip_cli.pruning.after_training.snacs.phi import scaled_weights

# What can be protected: the groups with the highest sensitivity, with the lowest, or none.
PROTECT = ("highest", "lowest", "none")


def filter_sensitivity(model: nn.Module, grouped: Collection[GroupedPair]) -> dict[str, Tensor]:
    """Return the sensitivity of every group of every child's channels, by the child's name: float64 of G.

    As in the authors' code, the weights of the next layer are scaled over the whole network (`scaled_weights`), averaged over the kernel,
    and divided by their sum over the inputs, so that each output shares 1 among its inputs. The sensitivity of a group is the mean of its
    channels' shares, averaged over the outputs. (The authors' code takes the sum, which ranks groups of one size equally.) If there are
    several next layers, behind a branch, their outputs count together. If there is none, all groups get 1.
    """
    weights = scaled_weights(model)
    sensitivity = {}
    for each in grouped:
        channels = len(weights[each.child])
        readers = [later for later in grouped if later.pair.parent == each.child and later.parent_channels == channels]
        if not readers:
            sensitivity[each.child] = torch.ones(len(each.child_bounds), dtype=torch.float64)
            continue
        shares_DC = torch.cat([input_shares(weights[later.child], later.inputs) for later in readers])
        share_C = shares_DC.mean(dim=0).cpu()
        groups_C = group_of_channels(each.child_bounds)
        sums_G = share_C.new_zeros(len(each.child_bounds)).index_add_(0, groups_C, share_C)
        sensitivity[each.child] = sums_G / group_sizes(each.child_bounds)
    return sensitivity


def input_shares(weight: Tensor, inputs_per_channel: int) -> Tensor:
    """Return each output's share of every channel before the layer, D×C; a row sums to 1, or to 0 if all its weights are 0."""
    means_DI = weight.flatten(2).mean(dim=2) if weight.dim() > 2 else weight
    sums_DC = means_DI.unflatten(1, (-1, inputs_per_channel)).sum(dim=2)
    total_D1 = sums_DC.sum(dim=1, keepdim=True)
    return sums_DC / torch.where(total_D1 > 0, total_D1, 1)


def protected_groups(sensitivity_G: Tensor, *, protect: str, fraction: float) -> Tensor:
    """Return which of a child's groups keep all their input connections, bool of G.

    Args:
        sensitivity_G: larger = the next layer depends more on it. If all are equal, none is protected.
        protect: `highest`, as in the abstract ("critical filters that need to be completely protected"); `lowest`, as in the authors'
            code, whose sort is ascending; or `none`.
        fraction: of the groups, in [0, 1]; the number is rounded, and of equal groups the earlier is protected.
    """
    assert protect in PROTECT
    protected_G = torch.zeros(len(sensitivity_G), dtype=torch.bool)
    if protect != "none" and sensitivity_G.min() < sensitivity_G.max():
        order_G = sensitivity_G.argsort(descending=protect == "highest", stable=True)
        protected_G[order_G[: round(fraction * len(order_G))]] = True
    return protected_G
