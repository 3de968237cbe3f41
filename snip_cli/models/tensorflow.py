"""Two layers as TensorFlow defines them, in which the networks of SNIP were built: padding 'SAME' and batch-norm."""

import torch.nn.functional as F
from torch import Tensor, nn


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros (before, after) a side of `size` with which a convolution gives ⌈size / stride⌉ values; the odd one goes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """A square convolution, padded as TensorFlow's 'SAME' does; N×C×H×W → N×C'×⌈H/stride⌉×⌈W/stride⌉.

    A stride above 1 pads more at the bottom and right than at the top and left, which `nn.Conv2d` cannot.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, out_channels, kernel, stride)

    def padding_of(self, images_NCHW: Tensor) -> tuple[int, int, int, int]:
        """Zeros to the left, right, top and bottom of the images, as `F.pad` takes them."""
        height, width = zip(images_NCHW.shape[-2:], self.kernel_size, self.stride, strict=True)
        return (*same_padding(*width), *same_padding(*height))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        left, right, top, bottom = self.padding_of(images_NCHW)
        if (top, left) == (bottom, right):  # the convolution pads by itself, without a copy of the image
            return F.conv2d(images_NCHW, self.weight, self.bias, self.stride, (top, left))
        return F.conv2d(F.pad(images_NCHW, (left, right, top, bottom)), self.weight, self.bias, self.stride)


def batch_norm_2d(channels: int) -> nn.BatchNorm2d:
    """Batch-norm of N×C×H×W with the defaults of `tf.layers`: momentum 0.99, which PyTorch calls 0.01, and ε 0.001."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def batch_norm_1d(features: int) -> nn.BatchNorm1d:
    """Batch-norm of N×features with the defaults of `tf.layers`, as `batch_norm_2d`."""
    return nn.BatchNorm1d(features, eps=1e-3, momentum=0.01)
