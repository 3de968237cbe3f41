"""MobileNetV2 (Sandler et al. 2018): torchvision's module, with smaller strides for images as small as CIFAR's."""

from torch import nn

from snip_cli.models.shapes import check_channels, check_size
from snip_cli.registry import models

# From this side on, the network has torchvision's strides, which divide a side by 32.
STRIDED = 96
# (expansion, channels, blocks, stride) of each group: Table 2 of the paper, with stride 1 instead of 2 in the second
# group.
SMALL_IMAGE_GROUPS = [
    [1, 16, 1, 1],
    [6, 24, 2, 1],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


@models.register("mobilenet_v2")
def mobilenet_v2(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return torchvision's MobileNetV2; 2,202,570 parameters at 10 classes. Takes colour images of at least 32×32.

    Below 96×96 the first convolution and the second group have stride 1, which divides a side by 8 instead of 32. The
    parameters and their names are the same.
    """
    import torchvision  # takes seconds to import, which runs of other models need not wait for

    check_channels("mobilenet_v2", shape, 3)
    check_size("mobilenet_v2", shape, 32)
    if min(shape[1:]) >= STRIDED:
        return torchvision.models.mobilenet_v2(num_classes=classes)
    model = torchvision.models.mobilenet_v2(num_classes=classes, inverted_residual_setting=SMALL_IMAGE_GROUPS)
    model.features[0][0].stride = (1, 1)
    return model
