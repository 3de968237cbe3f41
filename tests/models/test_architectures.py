"""Each family against its plain functional form: the order of the layers, the paddings, the strides, the shortcuts."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.models.test_models import build

SNIP_EPS, PYTORCH_EPS = 1e-3, 1e-5


def settled(name, shape=(3, 32, 32)):
    """The model in double precision and inference mode, with batch-norm that is not the identity, and two images."""
    model = build(name, shape).double().eval()
    generator = torch.Generator().manual_seed(2)
    for norm in model.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in ((norm.running_mean, -0.3, 0.3), (norm.bias, -0.3, 0.3), (norm.weight, 0.7, 1.4)):
                tensor.data.uniform_(low, high, generator=generator)
            norm.running_var.uniform_(0.1, 0.4, generator=generator)
    return model, torch.randn(2, *shape, generator=generator, dtype=torch.float64)


class Layers:
    """The tensors of a model by layer, and the layers as functions."""

    def __init__(self, model, eps):
        self.tensors, self.eps = model.state_dict(), eps

    def conv(self, x, layer, stride=1, pad=(0, 0, 0, 0)):
        """A convolution after `pad` zeros at (left, right, top, bottom)."""
        return F.conv2d(F.pad(x, pad), self.tensors[f"{layer}.weight"], self.tensors.get(f"{layer}.bias"), stride)

    def linear(self, x, layer):
        return x @ self.tensors[f"{layer}.weight"].T + self.tensors[f"{layer}.bias"]

    def norm_relu(self, x, layer):
        return self.norm(x, layer).clamp(min=0)

    def norm(self, x, layer):
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (self.tensors[f"{layer}.{name}"].view(1, -1, *[1] * (x.dim() - 2)) for name in names)
        return (x - mean) / (var + self.eps).sqrt() * weight + bias


def check(model, images, expected):
    with torch.no_grad():
        actual = model(images)
    assert actual.std() > 1e-3 and (actual[0] - actual[1]).abs().max() > 1e-3
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("name", ["alexnet_s", "alexnet_b"])
@pytest.mark.parametrize(("side", "stride", "before", "after"), [(32, 2, 4, 5), (64, 4, 3, 4)])
def test_alexnet(name, side, stride, before, after):
    model, images = settled(name, (3, side, side))
    layers = Layers(model, SNIP_EPS)
    strides = [stride, 2, 2, 2, 2]
    pads = [(before, after), (1, 2), (0, 1), (0, 1), (0, 1)]
    x = images
    for i, (step, pad) in enumerate(zip(strides, pads, strict=True), start=1):
        x = layers.norm_relu(layers.conv(x, f"conv{i}", step, pad * 2), f"conv_norm{i}")
    assert x.shape == (2, 256, 1, 1)
    x = x.flatten(1)
    for i in (1, 2):
        x = layers.norm_relu(layers.linear(x, f"fc{i}"), f"fc_norm{i}")
    check(model, images, layers.linear(x, "fc3"))


@pytest.mark.parametrize(
    ("name", "hidden", "pointwise", "eps"),
    [
        ("vgg_c", 2, (7, 10, 13), SNIP_EPS),
        ("vgg_d", 2, (), SNIP_EPS),
        ("vgg_like", 1, (), SNIP_EPS),
        ("vgg16", 1, (), PYTORCH_EPS),
    ],
)
def test_vgg(name, hidden, pointwise, eps):
    model, images = settled(name)
    layers = Layers(model, eps)
    x = images
    for i in range(1, 14):
        pad = (0, 0, 0, 0) if i in pointwise else (1, 1, 1, 1)
        x = layers.norm_relu(layers.conv(x, f"conv{i}", pad=pad), f"conv_norm{i}")
        if i in (2, 4, 7, 10, 13):
            x = F.max_pool2d(x, 2)
    x = x.flatten(1)
    for i in range(1, hidden + 1):
        x = layers.norm_relu(layers.linear(x, f"fc{i}"), f"fc_norm{i}")
    check(model, images, layers.linear(x, f"fc{hidden + 1}"))


@pytest.mark.parametrize(("name", "blocks"), [("wrn_16_8", 2), ("wrn_22_8", 3)])
def test_wide_resnet(name, blocks):
    model, images = settled(name, (3, 16, 16))
    layers = Layers(model, SNIP_EPS)
    x = layers.conv(images, "conv", pad=(1, 1, 1, 1))
    for i in range(3 * blocks):
        block, first = f"blocks.{i}", i % blocks == 0
        halved = first and i > 0
        active = layers.norm_relu(x, f"{block}.norm1")
        shortcut = layers.conv(active, f"{block}.projection", 2 if halved else 1) if first else x
        out = layers.conv(active, f"{block}.conv1", *((2, (0, 1, 0, 1)) if halved else (1, (1, 1, 1, 1))))
        out = layers.norm_relu(out, f"{block}.norm2")
        x = shortcut + layers.conv(out, f"{block}.conv2", pad=(1, 1, 1, 1))
    assert x.shape == (2, 512, 4, 4)
    check(model, images, layers.linear(layers.norm_relu(x, "norm").mean(dim=(2, 3)), "fc"))


@pytest.mark.parametrize(("name", "blocks"), [("resnet20", 3), ("resnet56", 9)])
@pytest.mark.parametrize("side", [16, 15])
def test_cifar_resnet(side, name, blocks):
    model, images = settled(name, (3, side, side))
    layers = Layers(model, PYTORCH_EPS)
    x = layers.norm_relu(layers.conv(images, "conv", pad=(1, 1, 1, 1)), "norm")
    for i in range(3 * blocks):
        stride = 2 if i in (blocks, 2 * blocks) else 1
        out = layers.norm_relu(layers.conv(x, f"blocks.{i}.conv1", stride, (1, 1, 1, 1)), f"blocks.{i}.norm1")
        out = layers.norm(layers.conv(out, f"blocks.{i}.conv2", pad=(1, 1, 1, 1)), f"blocks.{i}.norm2")
        if stride == 2:
            pixels, zeros = x[:, :, ::2, ::2], torch.zeros_like(out)[:, : x.shape[1] // 2]
            x = torch.cat([zeros, pixels, zeros], dim=1)
        x = (out + x).clamp(min=0)
    check(model, images, layers.linear(x.mean(dim=(2, 3)), "fc"))


@pytest.mark.parametrize(("side", "left"), [(32, 4), (64, 8), (95, 12), (96, 3), (224, 7)])
def test_mobilenet_v2_divides_small_images_by_8_and_large_ones_by_32(side, left):
    with torch.device("meta"):
        model = build("mobilenet_v2", (3, side, side))
        assert model.features(torch.empty(1, 3, side, side)).shape == (1, 1280, left, left)


def test_mobilenet_v2_has_the_parameters_of_torchvisions_at_every_size():
    with torch.device("meta"):
        small, large = (build("mobilenet_v2", (3, side, side)).state_dict() for side in (32, 224))
    assert {key: value.shape for key, value in small.items()} == {key: value.shape for key, value in large.items()}
