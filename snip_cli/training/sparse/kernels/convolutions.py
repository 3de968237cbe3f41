"""The convolutions of a chain with ReLU and max-pooling, and their gradients, for one tile of 16 images at a time.

So a tile's values stay in the second cache.
"""

from numba import njit

from snip_cli.training.sparse.kernels.layers import back_products, rectify, rectify_slopes
from snip_cli.training.sparse.kernels.pooling import pool, unpool
from snip_cli.training.sparse.kernels.products import INNER, ONE, clear, run_forward, run_gradients, sum_of
from snip_cli.training.sparse.kernels.vectors import WIDTH, load, store


@njit(**INNER)
def convolve(tables, buffers, tile, blocks):
    """Compute the outputs of the convolutions for one tile, whose images are in place."""
    values, choices, scratch = buffers.tiles[tile], buffers.choices[tile], buffers.tile_slopes
    for number in range(tables.convolutions):
        layer = tables.layers[number]
        bias, pointer = layer.bias, layer.pointer
        for output in range(layer.rows):
            found = layer.found + output * layer.found_stride
            out, at = (scratch, layer.plane) if layer.pools else (values, found)
            run_forward(
                *(out, at, buffers.weights[bias + output], values, layer.given, buffers.weights),
                *(tables.offsets, layer.entry, tables.pointers, pointer, tables.runs, layer.run, layer.run_end, blocks),
            )
            pointer += layer.taps + 1
            if layer.pools:
                pool(scratch, layer.plane, layer, values, found, choices, layer.choices + output * layer.found_stride)
            elif layer.relu:
                rectify(values, found, layer.found_stride)


@njit(**INNER)
def convolve_back(tables, buffers, tile, blocks):
    """Add one tile's part to the gradients of the convolutions; the slopes of the last one's outputs are in place."""
    values, choices, slopes = buffers.tiles[tile], buffers.choices[tile], buffers.tile_slopes
    for number in range(tables.convolutions - 1, -1, -1):
        layer = tables.layers[number]
        pointer = layer.pointer
        for output in range(layer.rows):
            found = layer.found + output * layer.found_stride
            plane = layer.plane + output * layer.plane_stride if layer.pools else found
            if layer.relu:
                rectify_slopes(slopes, values, found, layer.found_stride)
            buffers.gradients[layer.bias + output] += sum_of(slopes, found, layer.found_stride)
            if layer.pools:
                unpool(slopes, found, layer, choices, layer.choices + output * layer.found_stride, plane)
            run_gradients(
                *(buffers.sums, slopes, plane, values, layer.given, tables.offsets, layer.entry),
                *(tables.pointers, pointer, tables.runs, layer.run, layer.run_end, blocks),
            )
            pointer += layer.taps + 1
        if number:
            back_products(tables, layer, buffers, slopes, layer.plane if layer.pools else layer.found, blocks)


@njit(**INNER)
def flatten(tables, buffers, tile):
    """Copy the features that the first linear layer reads from a tile to the batch's values."""
    last, first = tables.layers[tables.convolutions - 1], tables.layers[tables.convolutions]
    values = buffers.tiles[tile]
    for number in range(len(tables.columns)):
        of, to = last.found + tables.columns[number], first.given + number * first.given_stride + tile * WIDTH
        store(buffers.values, to, load(values, of, ONE))


@njit(**INNER)
def unflatten(tables, buffers, tile):
    """Copy the gradients of these features back to a tile."""
    last, first = tables.layers[tables.convolutions - 1], tables.layers[tables.convolutions]
    slopes = buffers.tile_slopes
    clear(slopes, last.found, last.rows * last.found_stride)
    for number in range(len(tables.columns)):
        to, of = last.found + tables.columns[number], first.given + number * first.given_stride + tile * WIDTH
        store(slopes, to, load(buffers.slopes, of, ONE))
