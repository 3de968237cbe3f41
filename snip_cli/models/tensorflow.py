"""Layers as TensorFlow, in which SNIP's networks were built, defines them: convolution with padding 'SAME', and
batch-norm.
"""

import torch.nn.functional as F
from torch import Tensor, nn


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how many zeros to pad (before, after) a side of `size` for an output of ⌈size / stride⌉.

    An odd zero goes after.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """A square convolution with TensorFlow's padding 'SAME'; N×C×H×W → N×C'×⌈H/stride⌉×⌈W/stride⌉.

    With a stride above 1 it may pad more at the bottom and right than at the top and left, which `nn.Conv2d` cannot do.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, out_channels, kernel, stride)

    def padding_of(self, images_NCHW: Tensor) -> tuple[int, int, int, int]:
        """Return the padding (left, right, top, bottom) of the images, as `F.pad` takes it."""
        height, width = zip(images_NCHW.shape[-2:], self.kernel_size, self.stride, strict=True)
        return (*same_padding(*width), *same_padding(*height))

    def _conv_forward(self, images_NCHW: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        left, right, top, bottom = self.padding_of(images_NCHW)
        if (top, left) == (bottom, right):  # symmetric padding, which needs no copy of the image
            return F.conv2d(images_NCHW, weight, bias, self.stride, (top, left))
        return F.conv2d(F.pad(images_NCHW, (left, right, top, bottom)), weight, bias, self.stride)


def batch_norm_2d(channels: int) -> nn.BatchNorm2d:
    """Return batch-norm for N×C×H×W with the defaults of `tf.layers`: ε 0.001 and momentum 0.99, which is 0.01 in
    PyTorch's convention.
    """
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def batch_norm_1d(features: int) -> nn.BatchNorm1d:
    """Return batch-norm for N×features with the defaults of `tf.layers`, as `batch_norm_2d`."""
    return nn.BatchNorm1d(features, eps=1e-3, momentum=0.01)
