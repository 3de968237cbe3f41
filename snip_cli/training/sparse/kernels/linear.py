"""The linear layers of a chain with ReLU, and their gradients, for a whole batch at a time.

An entry of theirs multiplies one pixel only, so a tile would give it a single vector to work on.
"""

from numba import njit

from snip_cli.training.sparse.kernels.layers import back_products, rectify, rectify_slopes
from snip_cli.training.sparse.kernels.products import INNER, row_gradients, run_forward, sum_of


@njit(**INNER)
def apply_linear(tables, buffers, blocks):
    """Compute the outputs of the linear layers for a batch, whose features are in place."""
    values = buffers.values
    for number in range(tables.convolutions, len(tables.layers)):
        layer = tables.layers[number]
        pointer = layer.pointer
        for output in range(layer.rows):
            at = layer.found + output * layer.found_stride
            run_forward(
                *(values, at, buffers.weights[layer.bias + output], values, layer.given, buffers.weights),
                *(tables.offsets, layer.entry, tables.pointers, pointer, tables.runs, layer.run, layer.run_end, blocks),
            )
            pointer += 2
            if layer.relu:
                rectify(values, at, layer.found_stride)


@njit(**INNER)
def linear_gradients(tables, buffers, blocks):
    """Set the gradients of the linear layers, and of their inputs behind convolutions; the slopes of the outputs are in place."""
    values, slopes = buffers.values, buffers.slopes
    for number in range(len(tables.layers) - 1, tables.convolutions - 1, -1):
        layer = tables.layers[number]
        pointer = layer.pointer
        for output in range(layer.rows):
            at = layer.found + output * layer.found_stride
            if layer.relu:
                rectify_slopes(slopes, values, at, layer.found_stride)
            buffers.gradients[layer.bias + output] = sum_of(slopes, at, layer.found_stride)
            row_gradients(
                *(buffers.gradients, slopes, at, values, layer.given, tables.offsets, layer.entry),
                *(tables.pointers, pointer, tables.runs, layer.run, layer.run_end, blocks),
            )
            pointer += 2
        if number:
            back_products(tables, layer, buffers, slopes, layer.found, blocks)
