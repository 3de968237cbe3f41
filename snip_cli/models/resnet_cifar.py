"""ResNet-20 and ResNet-56 for CIFAR (Section 4.2 of He et al. 2016), with parameter-free shortcuts as in SNACS (Ganesh et al. 2020)."""

import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.models.shapes import check_size
from snip_cli.registry import models


@models.register("resnet20")
def resnet20(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return ResNet-20: 19 convolutions without bias and a linear layer; 268,346 parameters for 3 channels and 10
    classes.

    Takes images of at least 8×8 with any number of channels.
    """
    check_size("resnet20", shape, 8)
    return CifarResNet(shape[0], classes, blocks=3)


@models.register("resnet56")
def resnet56(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return ResNet-56: 55 convolutions without bias and a linear layer; 848,954 parameters for 3 channels and 10
    classes.

    Takes images of at least 8×8 with any number of channels.
    """
    check_size("resnet56", shape, 8)
    return CifarResNet(shape[0], classes, blocks=9)


class Block(nn.Module):
    """3×3 convolution, batch-norm, ReLU, 3×3 convolution, batch-norm, plus the input, ReLU; N×C×H×W →
    N×C'×⌈H/stride⌉×⌈W/stride⌉.

    If the channels grow, the shortcut takes every other pixel of the input and pads it with channels of zeros, half
    before and half after.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added = stride, width - channels
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()

    def forward(self, images_NCHW: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(images_NCHW)))))
        return self.relu(residual + self.shortcut(images_NCHW))

    def shortcut(self, images_NCHW: Tensor) -> Tensor:
        """Return the input, subsampled and padded if the block changes its shape."""
        if self.added == 0:
            return images_NCHW
        half = self.added // 2
        return F.pad(images_NCHW[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.added - half))


class CifarResNet(nn.Module):
    """A 3×3 convolution of 16 channels, three groups of `blocks` blocks of 16, 32 and 64 channels, mean over the image,
    linear layer.
    """

    def __init__(self, channels: int, classes: int, *, blocks: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        first = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
        rest = [[Block(width, width, 1) for _ in range(blocks - 1)] for width in (16, 32, 64)]
        self.blocks = nn.Sequential(*(block for i in range(3) for block in (first[i], *rest[i])))
        self.fc = nn.Linear(64, classes)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        features = self.blocks(self.relu(self.norm(self.conv(images_NCHW))))
        return self.fc(features.mean(dim=(2, 3)))
