"""The networks of scripts/other_networks: one of each family of torchvision, some of timm where it is installed, and some written here."""

import itertools
from collections.abc import Callable
from importlib.util import find_spec

import torch
import torchvision.models as zoo
from torch import Tensor, nn

# What makes a network, and the shape of one input.
Made = tuple[Callable[[], nn.Module], tuple[int, ...]]


def block(inputs: int, outputs: int) -> nn.Module:
    """Two convolutions with batch-norm."""
    return nn.Sequential(
        *(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)),
        *(nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)),
    )


class UNet(nn.Module):
    """Shortcuts that are concatenated, and transposed convolutions."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        sizes = [width, 2 * width, 4 * width, 8 * width]
        self.down = nn.ModuleList(block(a, b) for a, b in zip([3, *sizes], sizes, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in itertools.pairwise(sizes))
        self.merge = nn.ModuleList(block(2 * a, a) for a in sizes[:-1])
        self.pool, self.head = nn.MaxPool2d(2), nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        shortcuts = []
        for down in self.down[:-1]:
            x = down(x)
            shortcuts.append(x)
            x = self.pool(x)
        x = self.down[-1](x)
        for up, merge, shortcut in reversed(list(zip(self.up, self.merge, shortcuts, strict=True))):
            x = merge(torch.cat([up(x), shortcut], 1))
        return self.head(x)


class TwoTowers(nn.Module):
    """Two inputs, each with a network of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 32)) for _ in range(2))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return (self.left(left) * self.right(right)).sum(1)


class OneInput(TwoTowers):
    """Both towers read the same tensor."""

    def forward(self, both: Tensor) -> Tensor:
        return self.left(both) * self.right(both)


class Tagger(nn.Module):
    """One class for every word or vector of a sentence, by a recurrent layer."""

    def __init__(self, *, embed: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(500, 32) if embed else nn.Identity()
        self.rnn, self.head = nn.LSTM(32, 64, batch_first=True, bidirectional=True), nn.Linear(128, 12)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(words))[0])


class LanguageModel(nn.Module):
    """The next word, by an encoder of torch."""

    def __init__(self, *, embed: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(500, 32) if embed else nn.Identity()
        layer = nn.TransformerEncoderLayer(32, 4, 128, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(32, 500)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.body(self.embedding(words)))


class Block(nn.Module):
    """A block of a decoder as nanoGPT writes it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.size()
        q, k, v = (
            part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(width, dim=2)
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


MODELS: dict[str, Made] = {
    "alexnet": (lambda: zoo.alexnet(num_classes=10), (3, 64, 64)),
    "vgg11_bn": (lambda: zoo.vgg11_bn(num_classes=10), (3, 32, 32)),
    "resnet18": (lambda: zoo.resnet18(num_classes=10), (3, 64, 64)),
    "resnet50": (lambda: zoo.resnet50(num_classes=10), (3, 64, 64)),
    "resnext50_32x4d": (lambda: zoo.resnext50_32x4d(num_classes=10), (3, 64, 64)),
    "wide_resnet50_2": (lambda: zoo.wide_resnet50_2(num_classes=10), (3, 64, 64)),
    "densenet121": (lambda: zoo.densenet121(num_classes=10), (3, 64, 64)),
    "squeezenet1_1": (lambda: zoo.squeezenet1_1(num_classes=10), (3, 64, 64)),
    "googlenet": (lambda: zoo.googlenet(num_classes=10, init_weights=False), (3, 64, 64)),
    "inception_v3": (lambda: zoo.inception_v3(num_classes=10, init_weights=False), (3, 96, 96)),
    "mobilenet_v2": (lambda: zoo.mobilenet_v2(num_classes=10), (3, 64, 64)),
    "mobilenet_v3_small": (lambda: zoo.mobilenet_v3_small(num_classes=10), (3, 64, 64)),
    "mnasnet0_5": (lambda: zoo.mnasnet0_5(num_classes=10), (3, 64, 64)),
    "shufflenet_v2_x0_5": (lambda: zoo.shufflenet_v2_x0_5(num_classes=10), (3, 64, 64)),
    "efficientnet_b0": (lambda: zoo.efficientnet_b0(num_classes=10), (3, 64, 64)),
    "efficientnet_v2_s": (lambda: zoo.efficientnet_v2_s(num_classes=10), (3, 64, 64)),
    "regnet_x_400mf": (lambda: zoo.regnet_x_400mf(num_classes=10), (3, 64, 64)),
    "regnet_y_400mf": (lambda: zoo.regnet_y_400mf(num_classes=10), (3, 64, 64)),
    "convnext_tiny": (lambda: zoo.convnext_tiny(num_classes=10), (3, 64, 64)),
    "vit_b_32": (lambda: zoo.vit_b_32(num_classes=10, image_size=64), (3, 64, 64)),
    "swin_t": (lambda: zoo.swin_t(num_classes=10), (3, 64, 64)),
    "swin_v2_t": (lambda: zoo.swin_v2_t(num_classes=10), (3, 64, 64)),
    "maxvit_t": (lambda: zoo.maxvit_t(num_classes=10), (3, 224, 224)),
    "U-Net": (UNet, (3, 32, 32)),
    "two towers, two inputs": (TwoTowers, (64,)),
    "two towers, one input": (OneInput, (64,)),
    "LSTM tagger, of words": (Tagger, (9,)),
    "LSTM tagger, of vectors": (lambda: Tagger(embed=False), (9, 32)),
    "transformer, of words": (LanguageModel, (9,)),
    "transformer, of vectors": (lambda: LanguageModel(embed=False), (9, 32)),
    "two blocks of nanoGPT": (lambda: nn.Sequential(Block(32, 4), Block(32, 4), nn.Linear(32, 100)), (9, 32)),
}


TIMM = {
    "resnet18d": (3, 64, 64),
    "resnetv2_50": (3, 64, 64),
    "mixer_s32_224": (3, 224, 224),
    "vit_tiny_patch16_224": (3, 224, 224),
    "convnext_atto": (3, 64, 64),
    "efficientnet_lite0": (3, 64, 64),
    "ghostnet_050": (3, 64, 64),
    "repvgg_a0": (3, 64, 64),
}
if find_spec("timm"):

    def of_timm(name: str) -> nn.Module:
        """One of timm's networks, for ten classes."""
        import timm

        network: nn.Module = timm.create_model(name, num_classes=10)
        return network

    MODELS |= {f"timm: {name}": (lambda name=name: of_timm(name), shape) for name, shape in TIMM.items()}
