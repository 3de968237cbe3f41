"""ResNet-50 (He et al. 2016) as torchvision builds it, with the stride on the 3×3 convolution.

SNACS prunes it on ImageNet.
"""

from torch import nn

from snip_cli.models.shapes import check_channels, check_size
from snip_cli.registry import models


@models.register("resnet50")
def resnet50(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return torchvision's ResNet-50; 25,503,912 parameters at 1,000 classes. Takes colour images of at least 32×32."""
    import torchvision  # takes seconds to import, which runs of other models need not wait for

    check_channels("resnet50", shape, 3)
    check_size("resnet50", shape, 32)
    return torchvision.models.resnet50(num_classes=classes)
