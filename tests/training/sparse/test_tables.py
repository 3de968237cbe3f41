"""Products by tables are convolutions, their gradients included, for every window."""

import numpy as np
import pytest
import torch
from numba import njit
from torch import nn

from snip_cli.training.sparse.kernels.products import OPTIONS, run_forward, run_gradients
from snip_cli.training.sparse.kernels.vectors import MOST, WIDTH, lanes
from snip_cli.training.sparse.tables import Plane, Window, backward_table, forward_table

BLOCKS = tuple(lanes(count) for count in range(1, MOST + 1))


@njit(**OPTIONS)
def forward(out, stride, values, weights, biases, offsets, pointers, runs, taps):
    for row in range(len(biases)):
        at, bias, pointer = row * stride, biases[row], row * (taps + 1)
        run_forward(out, at, bias, values, 0, weights, offsets, 0, pointers, pointer, runs, 0, len(runs), BLOCKS)


@njit(**OPTIONS)
def gradients(sums, slopes, stride, values, offsets, pointers, runs, taps, rows):
    for row in range(rows):
        at, pointer = row * stride, row * (taps + 1)
        run_gradients(sums, slopes, at, values, 0, offsets, 0, pointers, pointer, runs, 0, len(runs), BLOCKS)


def laid_out(values_NCHW, plane):
    """Channel by channel, pixel by pixel, image by image."""
    rows = np.zeros((values_NCHW.shape[1], plane.stride))
    rows[:, : plane.pixels * WIDTH] = values_NCHW.detach().permute(1, 2, 3, 0).flatten(1).numpy()
    return rows.ravel()


def images(values, plane):
    rows = torch.from_numpy(values).view(-1, plane.stride)[:, : plane.pixels * WIDTH]
    return rows.unflatten(1, (plane.height, plane.columns, WIDTH)).permute(3, 0, 1, 2)


@pytest.mark.parametrize("kept", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((12, 12), 5, 1, 0),
        ((8, 8), 3, 1, 1),
        ((9, 7), 3, 2, 1),
        ((11, 13), (5, 3), (2, 1), (0, 2)),
        ((4, 4), 1, 1, 0),
        ((6, 6), 3, 3, 0),
        ((5, 5), 2, 1, 1),
        ((5, 5), 1, 2, 0),
    ],
)
def test_products_are_those_of_the_convolution(size, kernel, stride, padding, kept):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, kernel, stride, padding).double()
    keep = torch.rand_like(layer.weight) < kept
    layer.weight.data *= keep
    given = torch.randn(WIDTH, 3, *size, dtype=torch.double, requires_grad=True)
    found = layer(given)
    slope = torch.randn_like(found)
    found.backward(slope)

    window, plane = Window.of(layer), Plane(*size, WIDTH)
    result = window.over(plane)
    numbers = np.arange(keep.numel()).reshape(keep.shape)
    ahead, back = (make(keep.numpy(), numbers, window, plane) for make in (forward_table, backward_table))
    weights, taps = layer.weight.detach().numpy().ravel(), window.size[0] * window.size[1]
    values, slopes = laid_out(given, plane), laid_out(slope, result)

    out = np.full(4 * result.stride, np.nan)
    tables = ahead.offsets, ahead.pointers, ahead.runs, taps
    forward(out, result.stride, values, weights[ahead.order], layer.bias.detach().numpy(), *tables)
    torch.testing.assert_close(images(out, result), found.detach())
    out = np.full(3 * plane.stride, np.nan)
    forward(out, plane.stride, slopes, weights[back.order], np.zeros(3), back.offsets, back.pointers, back.runs, taps)
    torch.testing.assert_close(images(out, plane), given.grad)
    sums = np.zeros(len(ahead.order) * WIDTH)
    gradients(sums, slopes, result.stride, values, *tables, 4)
    expected = layer.weight.grad.numpy().ravel()[ahead.order]
    np.testing.assert_allclose(sums.reshape(-1, WIDTH).sum(axis=1), expected, atol=1e-11)
