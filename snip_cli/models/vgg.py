"""VGG-C, VGG-D, VGG-like (Section 5.3 and Table 2 of Lee et al. 2019), and VGG-16 of SNACS (Ganesh et al. 2020)."""

from collections import OrderedDict
from collections.abc import Callable, Collection
from math import prod

from torch import nn

from snip_cli.models.shapes import check_size, is_large
from snip_cli.models.tensorflow import SameConv2d, batch_norm_1d, batch_norm_2d
from snip_cli.registry import models

WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
# The convolutions, counted from 1, that are followed by 2×2 max-pooling.
POOLED = (2, 4, 7, 10, 13)


@models.register("vgg_c")
def vgg_c(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return VGG-16 with 1×1 kernels in the last convolution of the last three groups; 10,526,538 parameters at
    3×32×32, 10 classes.

    Takes images of at least 17×17 with any number of channels. From 64×64 on, the first convolution has stride 2.
    """
    return vgg("vgg_c", shape, classes, hidden_layers=2, pointwise=(7, 10, 13))


@models.register("vgg_d")
def vgg_d(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return VGG-16 with two hidden linear layers; 15,245,130 parameters at 3×32×32 and 10 classes.

    Takes images of at least 17×17 with any number of channels. From 64×64 on, the first convolution has stride 2.
    """
    return vgg("vgg_d", shape, classes, hidden_layers=2)


@models.register("vgg_like")
def vgg_like(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return VGG-16 with one hidden linear layer; 14,982,474 parameters at 3×32×32 and 10 classes.

    Takes images of at least 17×17 with any number of channels. From 64×64 on, the first convolution has stride 2.
    """
    return vgg("vgg_like", shape, classes, hidden_layers=1)


@models.register("vgg16")
def vgg16(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return the VGG-16 of SNACS: VGG-like with PyTorch's batch-norm and stride 1 only; 14,982,474 parameters at
    3×32×32, 10 classes.

    Takes images of at least 17×17 with any number of channels.
    """
    norms = (nn.BatchNorm2d, nn.BatchNorm1d)
    return vgg("vgg16", shape, classes, hidden_layers=1, norms=norms, stride_if_large=1)


def vgg(
    name: str,
    shape: tuple[int, int, int],
    classes: int,
    *,
    hidden_layers: int,
    pointwise: Collection[int] = (),
    norms: tuple[Callable[[int], nn.Module], Callable[[int], nn.Module]] = (batch_norm_2d, batch_norm_1d),
    stride_if_large: int = 2,
) -> nn.Sequential:
    """Return thirteen convolutions in five pooled groups and linear layers of 512, each but the last followed by
    batch-norm and ReLU.

    Args:
        name: the model's name, for errors.
        shape: of an image, (channels, height, width).
        classes: the number of outputs.
        hidden_layers: the number of linear layers of 512 before the last one.
        pointwise: the convolutions, counted from 1, whose kernel is 1×1 instead of 3×3.
        norms: makes the batch-norm after a convolution and the batch-norm after a linear layer.
        stride_if_large: stride of the first convolution for images of 64×64 and larger.
    """
    check_size(name, shape, 17)  # a side is halved five times, and the fifth halving needs two pixels
    channels, *sides = shape
    stride = stride_if_large if is_large(shape) else 1
    sides = [-(-side // stride) for side in sides]
    layers: list[tuple[str, nn.Module]] = []
    for i, width in enumerate(WIDTHS, start=1):
        kernel = 1 if i in pointwise else 3
        layers += [(f"conv{i}", SameConv2d(channels, width, kernel, stride if i == 1 else 1))]
        layers += [(f"conv_norm{i}", norms[0](width)), (f"conv_relu{i}", nn.ReLU())]
        if i in POOLED:
            # An odd last row is pooled by itself, as with TensorFlow's padding 'SAME'.
            layers += [(f"pool{i}", nn.MaxPool2d(2, ceil_mode=True))]
            sides = [-(-side // 2) for side in sides]
        channels = width
    layers += [("flatten", nn.Flatten())]
    features = channels * prod(sides)
    for i in range(1, hidden_layers + 1):
        layers += [(f"fc{i}", nn.Linear(features, 512)), (f"fc_norm{i}", norms[1](512)), (f"fc_relu{i}", nn.ReLU())]
        features = 512
    return nn.Sequential(OrderedDict([*layers, (f"fc{hidden_layers + 1}", nn.Linear(features, classes))]))
