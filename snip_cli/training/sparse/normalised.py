"""Which networks with batch-norm train each convolution in the form that suits its density; imports nothing that compiles."""

from itertools import pairwise

from torch import nn

from snip_cli.models.tensorflow import SameConv2d
from snip_cli.models.wide_resnet import Block, WideResNet

KNOWN = (SameConv2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Linear)


def has_form(model: nn.Module) -> bool:
    """Return whether a network is one of these: a wide residual network, or a chain like VGG, with batch-norm and ReLU after each convolution.

    Types are compared exactly, because a subclass may have a forward pass of its own.
    """
    if not all(parameter.requires_grad for parameter in model.parameters()):
        return False
    if not all(is_plain(layer) for layer in model.modules()):
        return False
    if type(model) is WideResNet:
        return all(type(block) is Block for block in model.blocks)
    layers = list(model) if type(model) is nn.Sequential else []
    followed_by = {SameConv2d: nn.BatchNorm2d, nn.BatchNorm2d: nn.ReLU}
    return (
        any(type(layer) is SameConv2d for layer in layers)
        and all(type(layer) in KNOWN for layer in layers)
        and all(type(after) is followed_by.get(type(layer), type(after)) for layer, after in pairwise(layers))
        and type(layers[-1]) not in followed_by
    )


def is_plain(layer: nn.Module) -> bool:
    """Return whether a layer has what the operations expect: a bias, and statistics that a momentum moves."""
    if isinstance(layer, SameConv2d):
        return layer.bias is not None
    if isinstance(layer, nn.BatchNorm2d):
        return layer.affine and layer.track_running_stats and layer.momentum is not None
    return True
