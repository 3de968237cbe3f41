"""WRN-16-8, WRN-16-10 and WRN-22-8 (Section 5.3 and Table 2 of Lee et al. 2019): pre-activation blocks, every
convolution with a bias.

The paper's code for them is not public. The blocks are those of the wide residual network that its first author
released later, and the parameter counts agree with Table 2, except that its 10.0m for WRN-16-8 must be 10.96m, because
the table's 548k are 5 % of that.
"""

from torch import Tensor, nn

from snip_cli.models.shapes import check_size, is_large
from snip_cli.models.tensorflow import SameConv2d, batch_norm_2d
from snip_cli.registry import models


@models.register("wrn_16_8")
def wrn_16_8(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return the wide residual network of depth 16 and widening 8; 10,958,666 parameters for 3 channels and 10 classes.

    Takes images of at least 8×8 with any number of channels. From 64×64 on, the first convolution has stride 2.
    """
    return WideResNet("wrn_16_8", shape, classes, depth=16, widening=8)


@models.register("wrn_16_10")
def wrn_16_10(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return the wide residual network of depth 16 and widening 10; 17,113,258 parameters for 3 channels and 10
    classes.

    Takes images of at least 8×8 with any number of channels. From 64×64 on, the first convolution has stride 2.
    """
    return WideResNet("wrn_16_10", shape, classes, depth=16, widening=10)


@models.register("wrn_22_8")
def wrn_22_8(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return the wide residual network of depth 22 and widening 8; 17,153,610 parameters for 3 channels and 10 classes.

    Takes images of at least 8×8 with any number of channels. From 64×64 on, the first convolution has stride 2.
    """
    return WideResNet("wrn_22_8", shape, classes, depth=22, widening=8)


class Block(nn.Module):
    """Batch-norm, ReLU, 3×3 convolution, twice; N×C×H×W → N×C'×⌈H/stride⌉×⌈W/stride⌉.

    If the channels change, the shortcut is a 1×1 convolution of the activated input; otherwise it is the input itself.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = batch_norm_2d(channels), batch_norm_2d(width)
        self.relu = nn.ReLU()
        self.projection = SameConv2d(channels, width, 1, stride) if channels != width else None
        self.conv1 = SameConv2d(channels, width, 3, stride)
        self.conv2 = SameConv2d(width, width, 3)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        active = self.relu(self.norm1(images_NCHW))
        shortcut = images_NCHW if self.projection is None else self.projection(active)
        return shortcut + self.conv2(self.relu(self.norm2(self.conv1(active))))


class WideResNet(nn.Module):
    """A 3×3 convolution of 16 channels, three groups of (depth - 4) / 6 blocks, batch-norm, ReLU, mean over the image,
    linear layer.
    """

    def __init__(self, name: str, shape: tuple[int, int, int], classes: int, *, depth: int, widening: int) -> None:
        super().__init__()
        check_size(name, shape, 8)
        # As in the first author's later code for Tiny-ImageNet.
        self.conv = SameConv2d(shape[0], 16, 3, 2 if is_large(shape) else 1)
        channels, blocks = 16, []
        for width, stride in ((16 * widening, 1), (32 * widening, 2), (64 * widening, 2)):
            for i in range((depth - 4) // 6):
                blocks.append(Block(channels, width, stride if i == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = batch_norm_2d(channels)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(channels, classes)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        active = self.relu(self.norm(self.blocks(self.conv(images_NCHW))))
        return self.fc(active.mean(dim=(2, 3)))
