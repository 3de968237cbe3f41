"""LeNet-300-100 and LeNet-5-Caffe (Section 5.2 of Lee et al. 2019)."""

from collections import OrderedDict
from math import prod

from torch import nn

from snip_cli.models.shapes import check_size
from snip_cli.registry import models


@models.register("lenet_300_100")
def lenet_300_100(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return three linear layers with ReLU between them; 266,610 parameters at 1×28×28 and 10 classes.

    Takes images of any shape.
    """
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(prod(shape), 300),
            relu1=nn.ReLU(),
            fc2=nn.Linear(300, 100),
            relu2=nn.ReLU(),
            fc3=nn.Linear(100, classes),
        )
    )


@models.register("lenet_5_caffe")
def lenet_5_caffe(shape: tuple[int, int, int], classes: int, *, conv_relu: bool = True) -> nn.Module:
    """Return two 5×5 convolutions (20, 50) with 2×2 max-pooling and two linear layers; 431,080 parameters at 1×28×28
    and 10 classes.

    Takes images of at least 16×16 with any number of channels. The released code has no ReLU after the convolutions:
    `conv_relu=False`. That needs the schedule `lenet_plain_sgd`; with momentum 0.9 at learning rate 0.1 the reference
    diverges within 60 iterations.
    """
    check_size("lenet_5_caffe", shape, 16)
    channels, height, width = shape
    left = [((side - 4) // 2 - 4) // 2 for side in (height, width)]
    layers: list[tuple[str, nn.Module]] = [("conv1", nn.Conv2d(channels, 20, 5)), ("pool1", nn.MaxPool2d(2))]
    # ReLU and max-pooling commute; ReLU after the pooling computes a quarter of the values.
    layers += [("conv_relu1", nn.ReLU())] * conv_relu
    layers += [("conv2", nn.Conv2d(20, 50, 5)), ("pool2", nn.MaxPool2d(2))]
    layers += [("conv_relu2", nn.ReLU())] * conv_relu
    layers += [
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(50 * prod(left), 500)),
        ("relu1", nn.ReLU()),
        ("fc2", nn.Linear(500, classes)),
    ]
    return nn.Sequential(OrderedDict(layers))
