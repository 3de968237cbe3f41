"""Which filters are to be protected from pruning: those on which the next layer leans most (the sensitivity criterion of SNACS).

Shapes: a layer's C output channels in G groups, the next layer's D output channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs.groups import group_bounds, group_of_channels
from snip_cli.pruning.after_training.snacs.pairs import Pair, inputs_per_channel, parent_channels
from snip_cli.pruning.after_training.snacs.weights import scaled_weights


def filter_sensitivity(model: nn.Module, pairs: Sequence[Pair], *, groups: int) -> dict[str, Tensor]:
    """The sensitivity of every group of every child's channels, by the child's name: G numbers in float64.

    As in the authors' code: the weights of the next layer, scaled over the whole network (`scaled_weights`) and averaged over the kernel,
    are divided by their sum over the inputs, so that each output shares 1 among its inputs; a group's sensitivity is the mean of its
    channels' shares, averaged over the outputs (the authors' code takes the sum, which is the same for groups of one size). Several next layers (behind a branch) count as one with the outputs of all. Where there is none, as
    behind the last layer, all groups have 1.
    """
    weights = scaled_weights(model)
    sensitivity = {}
    for pair in pairs:
        channels = len(weights[pair.child])
        bounds = group_bounds(channels, groups)
        following = [
            later for later in pairs if later.parent == pair.child and parent_channels(later, model) == channels
        ]
        if not following:
            sensitivity[pair.child] = torch.ones(len(bounds), dtype=torch.float64)
            continue
        shares_DC = torch.cat([shares(weights[later.child], inputs_per_channel(later, model)) for later in following])
        share_C = shares_DC.mean(dim=0).cpu()
        sums_G = share_C.new_zeros(len(bounds)).index_add_(0, group_of_channels(bounds), share_C)
        sensitivity[pair.child] = sums_G / torch.tensor([end - start for start, end in bounds])
    return sensitivity


def shares(weight: Tensor, inputs_per_channel: int) -> Tensor:
    """Of every output of a layer the part that each channel before it has, D×C; a row adds up to 1, or 0 where all weights are 0."""
    means_DI = weight.flatten(2).mean(dim=2) if weight.dim() > 2 else weight
    sums_DC = means_DI.unflatten(1, (-1, inputs_per_channel)).sum(dim=2)
    total_D1 = sums_DC.sum(dim=1, keepdim=True)
    return sums_DC / torch.where(total_D1 > 0, total_D1, 1)


def protected_groups(sensitivity_G: Tensor, *, protect: str, fraction: float) -> Tensor:
    """Which of a child's groups keep all their input connections, bool G: the given fraction of them, rounded.

    Args:
        sensitivity_G: larger = the next layer leans more on it. Where all are equal none stands out, and none is protected.
        protect: `highest`, as the abstract has it ("critical filters that need to be completely protected"); `lowest`, as the authors'
            code does, whose sort is ascending; or `none`.
        fraction: of the groups, in [0, 1]; of equal ones the earlier is protected.

    Raises:
        ConfigError: an argument is out of range.
    """
    if protect not in ("highest", "lowest", "none"):
        raise ConfigError(f"method.protect must be highest, lowest or none, not {protect!r}.")
    if not 0.0 <= fraction <= 1.0:
        raise ConfigError(f"method.protect_fraction must lie in [0, 1], not {fraction}.")
    protected_G = torch.zeros(len(sensitivity_G), dtype=torch.bool)
    if protect != "none" and sensitivity_G.min() < sensitivity_G.max():
        order_G = sensitivity_G.argsort(descending=protect == "highest", stable=True)
        protected_G[order_G[: round(fraction * len(order_G))]] = True
    return protected_G
