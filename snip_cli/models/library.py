"""The classification networks of torchvision and timm by name, as in model=torchvision/resnet18 and model=timm/resnet18d.

They are built for the number of classes, without weights. `stem=cifar` replaces what shrinks an image at first: a convolution of stride 1
on 3×3 pixels takes the place of the first one, and the pooling after it goes.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from torch import nn

from snip_cli.errors import ConfigError
from snip_cli.registry import models, nearest

STEMS = ("imagenet", "cifar")
# Networks with auxiliary classifiers, which would make their outputs in training tuples.
AUXILIARY = ("googlenet", "inception_v3")
# The first convolution and the pooling after it, where networks have them: of ResNets, of DenseNets, of MobileNets and EfficientNets.
FIRST = (("conv1", "maxpool"), ("features.conv0", "features.pool0"), ("features.0.0", ""), ("conv_stem", ""))

Builder = Callable[..., nn.Module]


@models.family("torchvision")
def of_torchvision(name: str) -> Builder:
    """Return what builds one of torchvision's classification networks. Raises ConfigError if there is no such network."""
    from torchvision import models as library

    known = library.list_models(module=library)
    if name not in known:
        raise ConfigError(
            f"torchvision has no classification network '{name}'{nearest(name, known)}: choose one of torchvision.models.list_models(module=torchvision.models)."
        )

    def build(shape: tuple[int, int, int], classes: int, *, stem: str = "imagenet") -> nn.Module:
        own: dict[str, Any] = {"aux_logits": False, "init_weights": False} if name in AUXILIARY else {}
        if name.startswith("vit_"):
            own["image_size"] = shape[1]
        return with_stem(library.get_model(name, weights=None, num_classes=classes, **own), name, stem)

    return build


@models.family("timm")
def of_timm(name: str) -> Builder:
    """Return what builds one of timm's networks. Raises ConfigError if timm is not installed or has no such network."""
    if not find_spec("timm"):
        raise ConfigError("timm is not installed here: pip install 'snip-run[timm]'.")
    import timm

    if not timm.is_model(name):
        raise ConfigError(
            f"timm has no network '{name}'{nearest(name, timm.list_models())}: choose one of timm.list_models()."
        )

    def build(shape: tuple[int, int, int], classes: int, *, stem: str = "imagenet") -> nn.Module:
        own: dict[str, Any] = {"num_classes": classes, "in_chans": shape[0]}
        try:
            model: nn.Module = timm.create_model(name, img_size=shape[1:], **own)
        except TypeError:  # most convolutional networks take images of any size
            model = timm.create_model(name, **own)
        return with_stem(model, name, stem)

    return build


def with_stem(model: nn.Module, name: str, stem: str) -> nn.Module:
    """Return the network with the stem that is asked for. Raises ConfigError if it has no such stem."""
    if stem not in STEMS:
        raise ConfigError(f"model.stem must be one of {', '.join(STEMS)}: got {stem!r}.")
    if stem == "imagenet":
        return model
    modules = dict(model.named_modules())
    for first, pooling in FIRST:
        old = modules.get(first)
        if isinstance(old, nn.Conv2d) and (not pooling or pooling in modules):
            new = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, bias=old.bias is not None)
            model.set_submodule(first, new)
            if pooling:
                model.set_submodule(pooling, nn.Identity())
            return model
    raise ConfigError(f"'{name}' has no stem for CIFAR: leave model.stem=cifar out, or choose a ResNet or DenseNet.")
