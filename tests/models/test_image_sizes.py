"""Which images each architecture takes, what it refuses, and how its strides follow from the size."""

import pytest
import torch
from torch import nn

from snip_cli.errors import ConfigError
from tests.models.test_models import build

ALEXNETS = ["alexnet_s", "alexnet_b"]
SNIP_VGGS = ["vgg_c", "vgg_d", "vgg_like"]
WIDE = ["wrn_16_8", "wrn_16_10", "wrn_22_8"]
RECURRENT = ["lstm_s", "lstm_b", "gru_s", "gru_b"]
OF_TORCHVISION = ["resnet50", "mobilenet_v2"]
RESNETS = ["resnet20", "resnet56"]
COLOUR = [*ALEXNETS, *SNIP_VGGS, "vgg16", *WIDE, *RESNETS, *OF_TORCHVISION]
# Model → smallest side.
SMALLEST = dict.fromkeys([*ALEXNETS, *SNIP_VGGS, "vgg16"], 17) | dict.fromkeys([*WIDE, *RESNETS], 8)
SMALLEST |= dict.fromkeys(OF_TORCHVISION, 32)


def build_on_meta(name, shape, classes=10):
    with torch.device("meta"):
        return build(name, shape, classes)


def outputs(name, shape, classes):
    """The model's output for two images on the meta device."""
    return build_on_meta(name, shape, classes)(torch.empty(2, *shape, device="meta"))


@pytest.mark.parametrize(
    "shape", [(3, 32, 32), (3, 64, 64), (3, 48, 65), (3, 63, 47), (3, 96, 96), (3, 224, 224)], ids=str
)
@pytest.mark.parametrize("name", COLOUR)
def test_it_takes_images_of_many_sizes_and_any_number_of_classes(name, shape):
    assert outputs(name, shape, 7).shape == (2, 7)


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 33, 20)], ids=str)
@pytest.mark.parametrize("name", [*RECURRENT, *ALEXNETS, *SNIP_VGGS, "vgg16", *WIDE, *RESNETS])
def test_it_takes_images_of_one_channel(name, shape):
    assert outputs(name, shape, 7).shape == (2, 7)


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_image_is_that_of_its_docstring(name):
    least = SMALLEST[name]
    assert outputs(name, (3, least, least), 10).shape == (2, 10)
    for height, width in ((least - 1, least), (least, least - 1)):
        sentence = f"^{name} needs images of at least {least}×{least}: got {height}×{width}. Choose another model for this data set.$"
        with pytest.raises(ConfigError, match=sentence):
            build_on_meta(name, (3, height, width))


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_network_refuses_colour_images(name):
    with pytest.raises(
        ConfigError, match=f"^{name} needs images of 1 channel: got 3. Choose another model for this data set.$"
    ):
        build_on_meta(name, (3, 32, 32))


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_torchvisions_networks_refuse_images_without_colour(name):
    with pytest.raises(
        ConfigError, match=f"^{name} needs images of 3 channels: got 1. Choose another model for this data set.$"
    ):
        build_on_meta(name, (1, 64, 64))


def first_stride(name, side):
    layers = build_on_meta(name, (3, side, side)).modules()
    return next(layer.stride for layer in layers if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize(
    ("names", "at_32", "at_64"),
    [(ALEXNETS, 2, 4), (SNIP_VGGS, 1, 2), (WIDE, 1, 2), (["vgg16", *RESNETS, "mobilenet_v2"], 1, 1)],
)
def test_the_first_stride_follows_from_the_size(names, at_32, at_64):
    for name in names:
        assert [first_stride(name, side) for side in (32, 63, 64)] == [(at_32,) * 2, (at_32,) * 2, (at_64,) * 2]


@pytest.mark.parametrize("name", [*ALEXNETS, *SNIP_VGGS])
def test_an_image_of_64_has_as_many_parameters_as_one_of_32(name):
    small, large = build_on_meta(name, (3, 32, 32)), build_on_meta(name, (3, 64, 64))
    assert {key: p.shape for key, p in small.named_parameters()} == {
        key: p.shape for key, p in large.named_parameters()
    }
