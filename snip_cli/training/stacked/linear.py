"""Losses and gradients of linear layers with ReLU, written out.

Where a network is as small as LeNet-300-100, what autograd does around the products takes long beside them (`results/performance.md`).

R: replicates, B: images of a batch, I and O: units that a layer reads and writes, K: classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.training.stacked.form import Weights

Layers = Sequence[tuple[str, nn.Module]]


def outputs(layers: Layers, weights: Weights, values_RBI: Tensor) -> list[Tensor]:
    """What each of the layers is given, R×B×I, and in the end what the last one gives."""
    values = [values_RBI]
    for name, layer in layers:
        given = values[-1]
        if isinstance(layer, nn.ReLU):
            values.append(F.relu(given))
        else:
            values.append(torch.baddbmm(weights[f"{name}.bias"][:, None], given, weights[f"{name}.weight"].mT))
    return values


def gradients(layers: Layers, weights: Weights, values_RBI: Tensor, labels_RB: Tensor) -> tuple[Tensor, Weights]:
    """R mean cross-entropies in nats, and the gradient of each by its replicate's weights.

    Those of matrices are views R×O×I of memory that lies as R×I×O: so the product gives them, and so a stack holds its blocks.
    """
    *values, outputs_RBK = outputs(layers, weights, values_RBI)
    logs_RBK = F.log_softmax(outputs_RBK, dim=2)
    losses_R = -logs_RBK.gather(2, labels_RB[..., None]).mean(dim=(1, 2))
    slope = (logs_RBK.exp() - F.one_hot(labels_RB, outputs_RBK.shape[2])) / labels_RB.shape[1]
    found: Weights = {}
    for (name, layer), given in zip(reversed(layers), reversed(values), strict=True):
        if isinstance(layer, nn.ReLU):
            slope = torch.ops.aten.threshold_backward(slope, given, 0)
            continue
        found[f"{name}.bias"] = slope.sum(dim=1)
        found[f"{name}.weight"] = torch.bmm(given.mT, slope).mT
        if given is not values_RBI:
            slope = torch.bmm(slope, weights[f"{name}.weight"])
    return losses_R, found
