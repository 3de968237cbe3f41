"""Training and evaluation of a chain of layers without the GIL: convolutions with ReLU and max-pooling, then linear layers with ReLU.

The convolutions work tile by tile, 16 images at a time, so that a tile's values stay in the second cache. The linear layers work on the whole
batch, because one of their entries multiplies one pixel only.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from snip_cli.training.sparse.kernels.numbers import adam, cross_entropy, errors, sgd, type_of
from snip_cli.training.sparse.kernels.pooling import pool, unpool
from snip_cli.training.sparse.kernels.products import (
    INNER,
    ONE,
    OPTIONS,
    add_up,
    clear,
    row_gradients,
    run_forward,
    run_gradients,
    sum_of,
)
from snip_cli.training.sparse.kernels.vectors import WIDTH, fill, larger, load, store, where_positive
from snip_cli.training.sparse.tables import Array

# What the kernels know of a layer. Numbers of entries, pointers and runs count from the start of the arrays of `Tables`, places from the
# start of a tile's or the batch's values.
LAYER = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("rows", "inputs", "taps", "entry", "entry_end", "bias", "pointer", "run", "run_end"),
            *("back_entry", "back_entry_end", "back_pointer", "back_run", "back_run_end"),
            *("given", "given_stride", "found", "found_stride", "relu"),
            # Of a convolution with max-pooling: its own plane, before the pooling, and the pooling.
            *("pools", "plane", "plane_stride", "columns", "choices"),
            *("pool_y", "pool_x", "pool_step_y", "pool_step_x", "pool_rows", "pool_columns"),
        )
    ]
)


class Tables(NamedTuple):
    """The tables of all layers, one after another; see `tables.Table`. Convolutions come first.

    Attributes:
        layers: records of `LAYER`.
        convolutions: how many of them are convolutions.
        back_order: for each entry of a backward table, the number of the same weight's entry in the forward table.
        columns: what the first linear layer reads: pixels of an image, or places in the outputs of the last convolution.
    """

    layers: Array
    convolutions: int
    offsets: Array
    pointers: Array
    runs: Array
    back_order: Array
    back_offsets: Array
    back_pointers: Array
    back_runs: Array
    columns: Array


class Buffers(NamedTuple):
    """What one training needs to compute.

    Attributes:
        weights: the kept weights of all layers in the order of the tables' entries, then the biases of all layers.
        back_weights: the weights in the order of the backward tables.
        gradients: of the loss, in the order of the weights.
        sums: for each entry of a convolution, its gradient for each of 16 images.
        first, second: what the optimizer remembers of each weight.
        kept: 1 for each bias that is kept, 0 for one that is pruned.
        tiles: the values of the convolutions of each tile; choices: of their poolings.
        tile_slopes: the gradients of the values of one tile.
        values, slopes: of the linear layers, for the whole batch.
        labels, highest, exponentials: of the batch, for its loss.
    """

    weights: Array
    back_weights: Array
    gradients: Array
    sums: Array
    first: Array
    second: Array
    kept: Array
    tiles: Array
    choices: Array
    tile_slopes: Array
    values: Array
    slopes: Array
    labels: Array
    highest: Array
    exponentials: Array


class Settings(NamedTuple):
    """The optimizer: Adam, or SGD with momentum and perhaps Nesterov; `decay` is the weight decay."""

    adam: bool
    momentum: float
    nesterov: bool
    decay: float


@njit(**INNER)
def read_images(source, levels, columns, rows, out, at, stride):
    """Write the images of a batch feature by feature: feature j of image b to out[at + j · stride + b].

    Args:
        source: uint8 images, one per row.
        levels: by channel and pixel value, what the network reads.
        columns: the pixel of each feature.
        rows: the images of the batch.
    """
    pixels = source.shape[1] // len(levels)
    for start in range(0, len(rows), WIDTH):
        some = rows[start : start + WIDTH]
        for feature in range(len(columns)):
            column, to = columns[feature], at + feature * stride + start
            level = levels[column // pixels]
            for image in range(len(some)):
                out[to + image] = level[source[some[image], column]]


@njit(**INNER)
def read_tile(source, levels, rows, out, at, stride):
    """Write up to 16 images, channel by channel, pixel by pixel; the arguments are those of `read_images`, `stride` is a plane's."""
    pixels = source.shape[1] // len(levels)
    for channel in range(len(levels)):
        level = levels[channel]
        for pixel in range(pixels):
            to = at + channel * stride + pixel * WIDTH
            for image in range(len(rows)):
                out[to + image] = level[source[rows[image], channel * pixels + pixel]]


@njit(**INNER)
def rectify(values, at, count):
    """Set negative numbers to 0; NaN stays."""
    zero = fill(values, 0.0, ONE)
    for place in range(at, at + count, WIDTH):
        store(values, place, larger(load(values, place, ONE), zero))


@njit(**INNER)
def rectify_slopes(slopes, values, at, count):
    """Set the gradients of numbers that ReLU has set to 0 to 0."""
    for place in range(at, at + count, WIDTH):
        store(slopes, place, where_positive(load(slopes, place, ONE), load(values, place, ONE)))


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
def back_products(tables, layer, buffers, slopes, place, blocks):
    """Compute the gradients of a layer's inputs from those of its outputs, which begin at `place`."""
    pointer, zero = layer.back_pointer, type_of(slopes[0], 0)
    for given in range(layer.inputs):
        run_forward(
            *(slopes, layer.given + given * layer.given_stride, zero, slopes, place, buffers.back_weights),
            *(tables.back_offsets, layer.back_entry, tables.back_pointers, pointer),
            *(tables.back_runs, layer.back_run, layer.back_run_end, blocks),
        )
        pointer += layer.taps + 1


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


@njit(**INNER)
def forward(tables, buffers, source, levels, rows, blocks):
    """Compute the network's outputs for a batch of images."""
    first = tables.layers[0]
    if tables.convolutions:
        for tile in range(-(-len(rows) // WIDTH)):
            some = rows[tile * WIDTH : (tile + 1) * WIDTH]
            read_tile(source, levels, some, buffers.tiles[tile], first.given, first.given_stride)
            convolve(tables, buffers, tile, blocks)
            flatten(tables, buffers, tile)
    else:
        read_images(source, levels, tables.columns, rows, buffers.values, first.given, first.given_stride)
    apply_linear(tables, buffers, blocks)


@njit(**INNER)
def backward(tables, buffers, count, blocks):
    """Set the gradients of all weights; the slopes of the outputs are in place."""
    linear_gradients(tables, buffers, blocks)
    if tables.convolutions:
        for number in range(tables.convolutions):
            layer = tables.layers[number]
            clear(buffers.gradients, layer.bias, layer.rows)
        for tile in range(-(-count // WIDTH)):
            unflatten(tables, buffers, tile)
            convolve_back(tables, buffers, tile, blocks)
        add_up(buffers.gradients, buffers.sums)


@njit(**INNER)
def loss_slopes(tables, buffers, labels, rows):
    """Return the mean cross-entropy of a batch in nats; its gradient goes to the slopes of the outputs."""
    last = tables.layers[len(tables.layers) - 1]
    for image in range(len(rows)):
        buffers.labels[image] = labels[rows[image]]
    return cross_entropy(
        *(buffers.values, last.found, last.found_stride, last.rows, buffers.labels, len(rows)),
        *(buffers.slopes, buffers.highest, buffers.exponentials),
    )


@njit(**INNER)
def optimize(buffers, rate, settings, step):
    """Change the weights once, and with them those of the backward tables."""
    weights, gradients = buffers.weights, buffers.gradients
    biases = len(weights) - len(buffers.kept)
    for number in range(len(buffers.kept)):
        gradients[biases + number] *= buffers.kept[number]
    rate, decay = type_of(weights[0], rate), type_of(weights[0], settings.decay)
    if settings.adam:
        adam(weights, gradients, buffers.first, buffers.second, step, rate, decay)
    else:
        momentum = type_of(weights[0], settings.momentum)
        sgd(weights, gradients, buffers.first, rate, momentum, decay, settings.nesterov)


@njit(cache=True, **OPTIONS)
def reorder(tables, buffers):
    """Bring the weights of the backward tables up to date."""
    for entry in range(len(tables.back_order)):
        buffers.back_weights[entry] = buffers.weights[tables.back_order[entry]]


@njit(cache=True, **OPTIONS)
def train_chain(tables, buffers, source, levels, labels, batches, rates, settings, step, losses, blocks):
    """Train on a batch of images per row of `batches`, and write the loss of each to `losses`.

    Args:
        source, levels: the training images; see `read_images`. labels: of all of them.
        rates: the learning rate of each iteration.
        settings: see `optimize`.
        step: how many iterations came before.
    """
    for number in range(len(batches)):
        rows = batches[number]
        forward(tables, buffers, source, levels, rows, blocks)
        losses[number] = loss_slopes(tables, buffers, labels, rows)
        backward(tables, buffers, len(rows), blocks)
        optimize(buffers, rates[number], settings, step + number + 1)
        reorder(tables, buffers)


@njit(cache=True, **OPTIONS)
def evaluate_chain(tables, buffers, source, levels, labels, batch, blocks):
    """Return how many images are classified wrongly, and the sum of their cross-entropies in nats, `batch` images at a time."""
    last = tables.layers[len(tables.layers) - 1]
    wrong, loss = 0, 0.0
    for start in range(0, len(labels), batch):
        rows = np.arange(start, min(start + batch, len(labels)))
        forward(tables, buffers, source, levels, rows, blocks)
        found = errors(buffers.values, last.found, last.found_stride, last.rows, labels[start:], len(rows))
        wrong, loss = wrong + found[0], loss + found[1]
    return wrong, loss
