"""The connections between a layer and its parent: groups of weights that are scored together and go together.

Shapes: G groups of the child's C output channels, H groups of the parent's channels, I inputs of the child.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.after_training.snacs.groups import Bounds, each_connection, group_bounds
from snip_cli.pruning.after_training.snacs.pairs import Pair, inputs_per_channel, parent_channels
from snip_cli.pruning.mask import Mask


@dataclass(frozen=True)
class Connections:
    """Between which groups of channels the connections of a pair run; `inputs` of the child come from each channel of the parent."""

    pair: Pair
    child_bounds: Bounds
    parent_bounds: Bounds
    inputs: int

    @property
    def child(self) -> str:
        return self.pair.child

    def weights(self, weight: Tensor) -> Tensor:
        """How many of the child's weights belong to each connection, int64 G×H."""
        kernel = weight[0, 0].numel() if weight.dim() > 2 else 1
        children_G, parents_H = (
            torch.tensor([end - start for start, end in bounds]) for bounds in (self.child_bounds, self.parent_bounds)
        )
        return children_G[:, None] * parents_H * self.inputs * kernel

    def mask(self, keep_GH: Tensor, weight: Tensor) -> Tensor:
        """The mask of the child's weight; an input that belongs to no connection is kept."""
        keep_CI = each_connection(
            keep_GH, child_bounds=self.child_bounds, parent_bounds=self.parent_bounds, inputs_per_channel=self.inputs
        )
        keep_CI = torch.cat([keep_CI, keep_CI.new_ones(len(keep_CI), weight.shape[1] - keep_CI.shape[1])], dim=1)
        return keep_CI.view(*keep_CI.shape, *(1,) * (weight.dim() - 2)).expand(weight.shape).clone()


def check_groups(groups: int) -> None:
    """Raise ConfigError where `groups` is negative."""
    if groups < 0:
        raise ConfigError(f"method.groups must be 0 (every channel for itself) or more, not {groups}.")


def connections(model: nn.Module, pair: Pair, groups: int) -> Connections:
    """The connections of a pair between (at most) `groups` groups on either side; 0 for one group a channel."""
    return Connections(
        pair,
        group_bounds(model.get_submodule(pair.child).weight.shape[0], groups),
        group_bounds(parent_channels(pair, model), groups),
        inputs_per_channel(pair, model),
    )


def connection_mask(model: nn.Module, kept: dict[str, Tensor], found: list[Connections]) -> Mask:
    """The mask over all prunable parameters that keeps the given connections, by the child's name, and all that belongs to none."""
    parameters = prunable_parameters(model)
    mask = {name: torch.ones(parameter.shape, dtype=torch.bool) for name, parameter in parameters.items()}
    for each in found:
        name = f"{each.child}.weight"
        mask[name] = each.mask(kept[each.child], parameters[name])
    return mask
