"""Batch-norm with ReLU on padded planes, which PyTorch can differentiate.

Its results are valid until its next call: only one batch is processed at a time.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snip_cli.training.sparse.kernels.norms import moments, normalise, normalise_back
from snip_cli.training.sparse.kernels.vectors import WIDTH
from snip_cli.training.sparse.planes.geometry import Geometry, Planes, room
from snip_cli.training.sparse.planes.parallel import flat, in_parallel
from snip_cli.training.sparse.tables import Array


class Norm:
    """Batch-norm, then ReLU."""

    def __init__(self, layer: nn.BatchNorm2d, geometry: Geometry, images: int) -> None:
        self.layer, self.geometry = layer, geometry
        self.out, self.slopes = (room(images, layer.num_features, geometry, layer.weight.dtype) for _ in range(2))

    def __call__(self, given: Planes) -> Planes:
        return Planes(
            _Normalise.apply(given.values, self.layer.weight, self.layer.bias, self, given.images),
            self.geometry,
            given.images,
        )

    def place(self) -> tuple[int, ...]:
        """Return what the kernels know of the planes: numbers of a plane, pixels of a row, height, columns, channels."""
        shape = self.geometry
        return shape.plane, shape.pitch, shape.height, shape.columns, self.layer.num_features

    def statistics(self, values: Tensor, ones: Array, count: int) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each channel: of the batch in training, which moves the running ones, and these in evaluation."""
        layer = self.layer
        assert layer.running_mean is not None
        assert layer.running_var is not None
        assert layer.momentum is not None
        if not layer.training:
            return layer.running_mean, layer.running_var
        found = torch.empty(2, layer.num_features, dtype=torch.float64)
        means, variances = found.numpy()
        in_parallel(
            lambda begin, end: moments(flat(values), *self.place(), ones, count, means, variances, begin, end),
            layer.num_features,
        )
        layer.running_mean.lerp_(found[0].to(layer.running_mean.dtype), layer.momentum)
        layer.running_var.lerp_((found[1] * count / (count - 1)).to(layer.running_var.dtype), layer.momentum)
        assert layer.num_batches_tracked is not None
        layer.num_batches_tracked += 1
        return found[0], found[1]


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, layer: Norm, images: int) -> Tensor:
        shape = layer.geometry
        ones = np.zeros(len(values) * WIDTH, flat(values).dtype)
        ones[:images] = 1
        count = images * shape.height * shape.columns
        mean, variance = layer.statistics(values, ones, count)
        rate = (variance.double() + layer.layer.eps).rsqrt()
        scale = weight * rate
        shift = bias - mean * scale
        scales, shifts = scale.detach().numpy(), shift.detach().numpy()
        out = layer.out[: len(values)]
        in_parallel(
            lambda begin, end: normalise(flat(out), flat(values), *layer.place(), ones, scales, shifts, begin, end),
            layer.layer.num_features,
        )
        ctx.layer, ctx.values, ctx.ones, ctx.count = layer, values, ones, count
        ctx.constants = (scales, shifts, mean.numpy(), rate.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        layer: Norm = ctx.layer
        out = layer.slopes[: len(slopes)]
        given = np.empty((2, layer.layer.num_features))
        by, of, to = flat(slopes.contiguous()), flat(ctx.values), flat(out)
        in_parallel(
            lambda begin, end: normalise_back(
                *(to, by, of, *layer.place(), ctx.ones, ctx.count, *ctx.constants, given, begin, end)
            ),
            layer.layer.num_features,
        )
        weight, bias = torch.from_numpy(given).to(slopes.dtype)
        return out, weight, bias, None, None
