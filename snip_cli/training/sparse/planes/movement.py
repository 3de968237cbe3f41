"""Max-pooling on padded planes, and the ways from images into planes and back, which PyTorch can differentiate.

Their results are valid until their next call: only one batch is processed at a time.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from snip_cli.training.sparse.kernels.planes import pool_planes, unpool_planes
from snip_cli.training.sparse.kernels.vectors import WIDTH
from snip_cli.training.sparse.planes.geometry import Geometry, Planes, from_planes, into_planes, room
from snip_cli.training.sparse.planes.parallel import flat, in_parallel


class Pool:
    """2×2 max-pooling of an image with even sides."""

    def __init__(self, geometry: Geometry, channels: int, images: int, dtype: torch.dtype) -> None:
        self.geometry, self.channels = geometry, channels
        self.found = Geometry(geometry.height // 2, geometry.columns // 2)
        self.out = room(images, channels, self.found, dtype)
        self.slopes = room(images, channels, geometry, dtype)
        self.choices = np.zeros(self.out.numel(), np.int8)

    def __call__(self, given: Planes) -> Planes:
        return Planes(_Pool.apply(given.values, self), self.found, given.images)


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, pool: Pool) -> Tensor:
        ctx.pool = pool
        out = pool.out[: len(values)]
        of, found = pool.geometry, pool.found
        fixed = (found.plane, found.pitch, flat(values), of.plane, of.pitch, found.height, found.columns, pool.channels)
        in_parallel(lambda begin, end: pool_planes(flat(out), pool.choices, *fixed, begin, end), len(values))
        return out

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        pool: Pool = ctx.pool
        out = pool.slopes[: len(slopes)]
        of, found = pool.geometry, pool.found
        by = flat(slopes.contiguous())
        fixed = (of.plane, of.pitch, by, pool.choices, found.plane, found.pitch, found.height, found.columns)
        in_parallel(lambda begin, end: unpool_planes(flat(out), *fixed, pool.channels, begin, end), len(slopes))
        return out, None


class Enter:
    """From images to planes."""

    def __init__(self, geometry: Geometry, channels: int, images: int, dtype: torch.dtype) -> None:
        self.geometry = geometry
        self.out = room(images, channels, geometry, dtype)

    def __call__(self, images_NCHW: Tensor) -> Planes:
        return Planes(_Enter.apply(images_NCHW, self), self.geometry, len(images_NCHW))


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images_NCHW: Tensor, enter: Enter) -> Tensor:
        ctx.geometry, ctx.images = enter.geometry, len(images_NCHW)
        out = enter.out[: -(-len(images_NCHW) // WIDTH)]
        into_planes(out, images_NCHW, enter.geometry)
        return out

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        return from_planes(slopes, ctx.geometry, ctx.images), None


class Leave:
    """From planes to images."""

    def __init__(self, geometry: Geometry, channels: int, images: int, dtype: torch.dtype) -> None:
        self.slopes = room(images, channels, geometry, dtype)

    def __call__(self, given: Planes) -> Tensor:
        found: Tensor = _Leave.apply(given.values, given.geometry, given.images, self)
        return found


class _Leave(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, geometry: Geometry, images: int, leave: Leave) -> Tensor:
        ctx.geometry, ctx.leave = geometry, leave
        return from_planes(values, geometry, images)

    @staticmethod
    def backward(ctx: Any, slopes_NCHW: Tensor) -> tuple[Tensor | None, ...]:
        out = ctx.leave.slopes[: -(-len(slopes_NCHW) // WIDTH)]
        into_planes(out, slopes_NCHW, ctx.geometry)
        return out, None, None, None
