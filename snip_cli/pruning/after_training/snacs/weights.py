"""Weights as SNACS compares them: scaled over the whole network, and one number for each connection between two groups.

Shapes: a weight is C×I(×kernel): C output channels in G groups, I inputs, which come from a parent's channels in H groups.
"""

import torch
from torch import Tensor, nn

from snip_cli.pruning.after_training.snacs.groups import Bounds, group_of_channels


def scaled_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights of all convolutions and linear layers by the layer's name, float64, brought to [0, 1] with their signs.

    One minimum and one maximum are taken over all of them: (w − min) / (max − min), as in the authors' code, which however takes
    everything in the state dict for it, biases and the statistics of batch-norm too. Equal weights all become 0.
    """
    weights = {
        name: layer.weight.detach().double()
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }
    low = min(float(weight.min()) for weight in weights.values())
    span = max(float(weight.max()) for weight in weights.values()) - low
    return {name: (weight - low) / (span or 1.0) for name, weight in weights.items()}


def group_means(weight: Tensor, child_bounds: Bounds, parent_bounds: Bounds, inputs_per_channel: int) -> Tensor:
    """The mean weight of every connection between two groups, G×H: over the kernel and over both groups' channels.

    The authors' code takes the weights of channel j alone for those of group j, which is the same where a group is one channel.
    """
    return _block_sums(weight, child_bounds, parent_bounds, inputs_per_channel) / _block_sums(
        torch.ones_like(weight), child_bounds, parent_bounds, inputs_per_channel
    )


def group_norms(weight: Tensor, child_bounds: Bounds, parent_bounds: Bounds, inputs_per_channel: int) -> Tensor:
    """The Euclidean norm of the weights of every connection between two groups, G×H: a plain rank to compare with."""
    return _block_sums(weight.square(), child_bounds, parent_bounds, inputs_per_channel).sqrt()


def _block_sums(weight: Tensor, child_bounds: Bounds, parent_bounds: Bounds, inputs_per_channel: int) -> Tensor:
    sums_CI = weight.flatten(2).sum(dim=2) if weight.dim() > 2 else weight
    children_C = group_of_channels(child_bounds).to(weight.device)
    parents_I = group_of_channels(parent_bounds).repeat_interleave(inputs_per_channel).to(weight.device)
    rows_GI = sums_CI.new_zeros(len(child_bounds), sums_CI.shape[1]).index_add_(0, children_C, sums_CI)
    return rows_GI.new_zeros(len(child_bounds), len(parent_bounds)).index_add_(1, parents_I, rows_GI)
