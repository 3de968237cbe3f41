"""A convolution on padded planes with its kept weights alone, which PyTorch can differentiate.

Its results are valid until its next call: only one batch is processed at a time.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snip_cli.training.sparse.kernels.planes import convolve, weight_gradients
from snip_cli.training.sparse.kernels.vectors import WIDTH
from snip_cli.training.sparse.planes.geometry import Geometry, Planes, room
from snip_cli.training.sparse.planes.parallel import flat, in_parallel
from snip_cli.training.sparse.tables import Array

# The numbers of vectors in any run of a network, as types.
Blocks = tuple[tuple[int, ...], ...]


class Table:
    """Kept weights sorted by what they write: `order` is the place of each in the weight's memory; see `kernels.planes.convolve`."""

    def __init__(self, rows: Array, order: Array, offsets: Array, outputs: int) -> None:
        by_row = np.argsort(rows, kind="stable")
        self.order = torch.from_numpy(order[by_row])
        self.offsets = offsets[by_row].astype(np.int32)
        self.pointers = np.concatenate([[0], np.bincount(rows, minlength=outputs).cumsum()])


class Convolution:
    """A convolution of stride 1 with its kept weights alone; 1×1 or 3×3, padded so that the image keeps its size."""

    def __init__(self, layer: nn.Conv2d, keep: Tensor, geometry: Geometry, images: int) -> None:
        self.layer, self.geometry = layer, geometry
        self.shape = layer.out_channels, layer.in_channels
        output, channel, y, x = (axis.numpy() for axis in keep.cpu().nonzero(as_tuple=True))
        middle = layer.kernel_size[0] // 2
        step = ((y - middle) * geometry.pitch + x - middle) * WIDTH
        order: Array = np.stack([output, channel, y, x], axis=1) @ np.array(layer.weight.stride())
        self.ahead = Table(output, order, channel * geometry.plane + step, self.shape[0])
        self.back = Table(channel, order, output * geometry.plane - step, self.shape[1])
        self.runs = geometry.runs()
        dtype = layer.weight.dtype
        self.out, self.slopes = (room(images, channels, geometry, dtype) for channels in self.shape)
        self._sums = [np.zeros(len(order) * WIDTH, self.out.numpy().dtype) for _ in range(torch.get_num_threads())]

    def __call__(self, given: Planes, blocks: Blocks) -> Planes:
        """Return the outputs; `blocks` are the numbers of vectors in any run of the network."""
        found = _Convolve.apply(given.values, self.layer.weight, self.layer.bias, self, blocks)
        return Planes(found, self.geometry, given.images)

    def products(self, out: Tensor, values: Tensor, table: Table, biases: Tensor, blocks: Blocks) -> None:
        """Write the products of values with the kept weights, in one direction or the other."""
        weights = memory(self.layer.weight)[table.order].numpy()
        fixed = (self.geometry.plane, values.shape[1], weights, table.offsets, table.pointers, flat(biases), self.runs)
        to, of = flat(out), flat(values)
        in_parallel(lambda begin, end: convolve(to, of, *fixed, begin, end, blocks), len(values))

    def gradients(self, slopes: Tensor, values: Tensor, blocks: Blocks) -> Tensor:
        """Return the gradient of the weight, 0 where it is pruned."""
        table = self.ahead
        parts: dict[int, Array] = {}
        fixed = (self.geometry.plane, values.shape[1], table.offsets, table.pointers, self.runs)
        by, of = flat(slopes), flat(values)

        def work(begin: int, end: int) -> None:
            sums = self._sums.pop()
            part = parts[begin] = np.empty(len(table.offsets), of.dtype)
            weight_gradients(part, sums, by, of, *fixed, begin, end, blocks)
            self._sums.append(sums)

        in_parallel(work, len(values))
        gradient = torch.zeros_like(self.layer.weight)
        memory(gradient)[table.order] = torch.from_numpy(sum(parts[begin] for begin in sorted(parts)))
        return gradient


def memory(weight: Tensor) -> Tensor:
    """Return a dense tensor's numbers in the order of its memory."""
    return weight.detach().as_strided((weight.numel(),), (1,))


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, layer: Convolution, blocks: Blocks) -> Tensor:
        ctx.layer, ctx.blocks, ctx.values = layer, blocks, values
        out = layer.out[: len(values)]
        layer.products(out, values, layer.ahead, bias, blocks)
        return out

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        layer: Convolution = ctx.layer
        slopes = slopes.contiguous()
        given = None
        if ctx.needs_input_grad[0]:
            given = layer.slopes[: len(slopes)]
            layer.products(given, slopes, layer.back, torch.zeros(layer.shape[1], dtype=slopes.dtype), ctx.blocks)
        return given, layer.gradients(slopes, ctx.values, ctx.blocks), slopes.sum((0, 2, 3)), None, None
