"""Which networks with batch-norm train each convolution in the form that suits its density; imports nothing that compiles."""

from torch import nn

from snip_cli.models.tensorflow import SameConv2d
from snip_cli.models.wide_resnet import WideResNet


def has_form(model: nn.Module) -> bool:
    """Return whether a network is one of these: a wide residual network, or a chain like VGG, with batch-norm before each ReLU."""
    if isinstance(model, WideResNet):
        return True
    layers = list(model.children()) if isinstance(model, nn.Sequential) else []
    known = (SameConv2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Linear)
    pairs = zip(layers, [*layers[1:], None], strict=True)
    return (
        any(isinstance(layer, SameConv2d) for layer in layers)
        and all(isinstance(layer, known) for layer in layers)
        and all(isinstance(after, nn.ReLU) for layer, after in pairs if isinstance(layer, nn.BatchNorm2d))
    )
