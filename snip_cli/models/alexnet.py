"""AlexNet-s and AlexNet-b (Section 5.3 and Table 2 of Lee et al. 2019).

The paper says that the hidden linear layers have 512 and 1,024 features. Its parameter counts and the released code
have 1,024 and 2,048.
"""

from collections import OrderedDict
from math import prod

from torch import nn

from snip_cli.models.shapes import check_size, is_large
from snip_cli.models.tensorflow import SameConv2d, batch_norm_1d, batch_norm_2d
from snip_cli.registry import models

# (output channels, kernel, stride) of the convolutions after the first.
CONVOLUTIONS = ((256, 5, 2), (384, 3, 2), (384, 3, 2), (256, 3, 2))


@models.register("alexnet_s")
def alexnet_s(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return AlexNet with two hidden layers of 1,024 features; 5,070,218 parameters at 3×32×32 and 10 classes.

    Takes images of at least 17×17 with any number of channels. From 64×64 on, the first convolution has stride 4
    instead of 2.
    """
    return alexnet("alexnet_s", shape, classes, hidden=1024)


@models.register("alexnet_b")
def alexnet_b(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return AlexNet with two hidden layers of 2,048 features; 8,490,378 parameters at 3×32×32 and 10 classes.

    Takes images of at least 17×17 with any number of channels. From 64×64 on, the first convolution has stride 4
    instead of 2.
    """
    return alexnet("alexnet_b", shape, classes, hidden=2048)


def alexnet(name: str, shape: tuple[int, int, int], classes: int, *, hidden: int) -> nn.Sequential:
    """Return five strided convolutions and three linear layers, each but the last followed by batch-norm and ReLU,
    without pooling.
    """
    check_size(name, shape, 17)  # a side is halved five times, and the fifth halving needs two pixels
    channels, *sides = shape
    layers: list[tuple[str, nn.Module]] = []
    for i, (width, kernel, stride) in enumerate(((96, 11, 4 if is_large(shape) else 2), *CONVOLUTIONS), start=1):
        layers += [(f"conv{i}", SameConv2d(channels, width, kernel, stride))]
        layers += [(f"conv_norm{i}", batch_norm_2d(width)), (f"conv_relu{i}", nn.ReLU())]
        channels, sides = width, [-(-side // stride) for side in sides]
    layers += [("flatten", nn.Flatten())]
    features = channels * prod(sides)
    for i in (1, 2):
        layers += [(f"fc{i}", nn.Linear(features, hidden))]
        layers += [(f"fc_norm{i}", batch_norm_1d(hidden)), (f"fc_relu{i}", nn.ReLU())]
        features = hidden
    return nn.Sequential(OrderedDict([*layers, ("fc3", nn.Linear(hidden, classes))]))
