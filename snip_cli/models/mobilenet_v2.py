"""MobileNetV2 (Sandler et al. 2018): torchvision's module, with fewer strides for images as small as CIFAR's."""

from torch import nn

from snip_cli.models.shapes import check_channels, check_size
from snip_cli.registry import models

# Both sides from here on: torchvision's strides, which divide a side by 32.
STRIDED = 96
# (expansion, channels, blocks, stride) of each group: Table 2 of the paper, with stride 1 in place of 2 in the second one.
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
    """Torchvision's MobileNetV2; 2,202,570 parameters at 10 classes. Takes colour images of at least 32×32.

    Below 96×96 the first convolution and the second group have stride 1, so that a side is divided by 8 and not by 32; the parameters
    and their names are the same.
    """
    import torchvision  # takes seconds, which a run of another model should not wait for

    check_channels("mobilenet_v2", shape, 3)
    check_size("mobilenet_v2", shape, 32)
    if min(shape[1:]) >= STRIDED:
        return torchvision.models.mobilenet_v2(num_classes=classes)
    model = torchvision.models.mobilenet_v2(num_classes=classes, inverted_residual_setting=SMALL_IMAGE_GROUPS)
    model.features[0][0].stride = (1, 1)
    return model
