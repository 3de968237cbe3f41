"""VGG and wide residual networks with each convolution in the form that suits its density.

A convolution of stride 1 that keeps few of its weights works on padded planes; batch-norm with ReLU, pooling and sums stay there between
such convolutions. Everything else is PyTorch's own, on images.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.models.tensorflow import SameConv2d
from snip_cli.models.wide_resnet import Block, WideResNet
from snip_cli.pruning.mask import Mask
from snip_cli.training.sparse.cache import kernels_compiled
from snip_cli.training.sparse.kernels.vectors import lanes
from snip_cli.training.sparse.planes.convolution import Convolution
from snip_cli.training.sparse.planes.geometry import Geometry, Planes
from snip_cli.training.sparse.planes.movement import Enter, Leave, Pool
from snip_cli.training.sparse.planes.norm import Norm

# The largest share of its weights with which a convolution is faster on planes.
LARGEST_LAYER_DENSITY = 0.25

# What a network's layers are given and give: images N×C×H×W, or planes.
Values = Tensor | Planes


def sparse_layers(
    model: nn.Module, mask: Mask, shape: tuple[int, int, int]
) -> dict[nn.Conv2d, tuple[Tensor, Geometry]]:
    """Return the convolutions that are faster on planes, with their masks and the sizes of their images."""
    sizes = sizes_of(model, shape)
    found: dict[nn.Conv2d, tuple[Tensor, Geometry]] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, SameConv2d) and layer.stride == (1, 1) and layer.kernel_size in ((1, 1), (3, 3)):
            keep = mask[f"{name}.weight"]
            if keep.double().mean() <= LARGEST_LAYER_DENSITY:
                found[layer] = (keep, sizes[name])
    return found


def sizes_of(model: nn.Module, shape: tuple[int, int, int]) -> dict[str, Geometry]:
    """Return the size of the images that each convolution is given, by its name."""
    sizes: dict[str, Geometry] = {}
    copy = deepcopy(model).to("meta").eval()
    for name, layer in copy.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(
                lambda _, given, name=name: sizes.update({name: Geometry(*given[0].shape[2:])})
            )
    copy(torch.zeros(1, *shape, dtype=next(copy.parameters()).dtype, device="meta"))
    return sizes


class PlanesNetwork:
    """A network that applies a model's parameters: images N×C×H×W → N×classes.

    Args:
        shape: of an image, (channels, height, width).
        batch: the most images at a time; more are done in pieces.

    Attributes:
        sparse: the convolutions that work on planes.
    """

    def __init__(self, model: nn.Module, mask: Mask, shape: tuple[int, int, int], batch: int) -> None:
        self.model, self.batch = model, batch
        self.sparse = {
            layer: Convolution(layer, keep, geometry, batch)
            for layer, (keep, geometry) in sparse_layers(model, mask, shape).items()
        }
        counts = {int(count) for each in self.sparse.values() for count in each.runs[:, 1]}
        self._blocks = tuple(lanes(count) for count in sorted(counts))
        # The other operations, in the order of their use.
        self._made: list[Any] = []
        self._used = 0
        self._compile(shape)

    def _compile(self, shape: tuple[int, int, int]) -> None:
        """Call everything once, and leave the model as it was."""
        kept = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        training = self.model.training
        self.model.train()
        images = torch.zeros(2, *shape, dtype=next(self.model.parameters()).dtype)
        with kernels_compiled():
            torch.autograd.grad(self(images).sum(), list(self.model.parameters()))
        self.model.train(training)
        for name, buffer in self.model.named_buffers():
            buffer.copy_(kept[name])

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """Return the outputs."""
        if len(images_NCHW) > self.batch:
            return torch.cat([self(some) for some in images_NCHW.split(self.batch)])
        self._used = 0
        if isinstance(self.model, WideResNet):
            return self._wide(self.model, images_NCHW)
        assert isinstance(self.model, nn.Sequential)
        return self._chain(self.model, images_NCHW)

    def _chain(self, model: nn.Sequential, values: Values) -> Tensor:
        layers = iter(model)
        for layer in layers:
            if isinstance(layer, SameConv2d):
                values = self._convolve(layer, values)
            elif isinstance(layer, nn.BatchNorm2d):
                values = self._rectified_norm(layer, values)
                next(layers)
            elif isinstance(layer, nn.MaxPool2d) and isinstance(values, Planes):
                values = self._pool(layer, values)
            else:
                values = layer(self._images(values))
        return self._images(values)

    def _wide(self, model: WideResNet, images_NCHW: Tensor) -> Tensor:
        values = self._convolve(model.conv, images_NCHW)
        for block in model.blocks:
            assert isinstance(block, Block)
            active = self._rectified_norm(block.norm1, values)
            shortcut = values if block.projection is None else self._convolve(block.projection, active)
            inside = self._rectified_norm(block.norm2, self._convolve(block.conv1, active))
            values = self._sum(shortcut, self._convolve(block.conv2, inside))
        active = self._images(self._rectified_norm(model.norm, values))
        return model.fc(active.mean(dim=(2, 3)))

    def _convolve(self, layer: nn.Conv2d, values: Values) -> Values:
        if layer not in self.sparse:
            return layer(self._images(values))
        return self.sparse[layer](self._planes(values), self._blocks)

    def _rectified_norm(self, layer: nn.BatchNorm2d, values: Values) -> Values:
        if isinstance(values, Tensor):
            return F.relu(layer(values))
        found: Planes = self._next(lambda: Norm(layer, values.geometry, self.batch))(values)
        return found

    def _pool(self, layer: nn.MaxPool2d, values: Planes) -> Values:
        even = values.geometry.height % 2 == values.geometry.columns % 2 == 0
        if not even or (layer.kernel_size, layer.stride, layer.padding, layer.dilation) != (2, 2, 0, 1):
            return layer(self._images(values))
        channels, dtype = values.values.shape[1], values.values.dtype
        found: Planes = self._next(lambda: Pool(values.geometry, channels, self.batch, dtype))(values)
        return found

    def _sum(self, one: Values, other: Values) -> Values:
        if isinstance(one, Planes) and isinstance(other, Planes):
            return Planes(one.values + other.values, one.geometry, one.images)
        return self._images(one) + self._images(other)

    def _planes(self, values: Values) -> Planes:
        if isinstance(values, Planes):
            return values
        channels, *sides = values.shape[1:]
        found: Planes = self._next(lambda: Enter(Geometry(*sides), channels, self.batch, values.dtype))(values)
        return found

    def _images(self, values: Values) -> Tensor:
        if isinstance(values, Tensor):
            return values
        channels, dtype = values.values.shape[1], values.values.dtype
        found: Tensor = self._next(lambda: Leave(values.geometry, channels, self.batch, dtype))(values)
        return found

    def _next(self, make: Callable[[], Any]) -> Any:
        """Return the next operation of this pass, which is made in the first pass."""
        if self._used == len(self._made):
            self._made.append(make())
        self._used += 1
        return self._made[self._used - 1]
