"""Training and evaluation of a chain without the GIL: convolutions, then linear layers."""

import numpy as np
from numba import njit

from snip_cli.training.sparse.kernels.convolutions import convolve, convolve_back, flatten, unflatten
from snip_cli.training.sparse.kernels.linear import apply_linear, linear_gradients
from snip_cli.training.sparse.kernels.numbers import adam, cross_entropy, errors, sgd, type_of
from snip_cli.training.sparse.kernels.products import INNER, OPTIONS, add_up, clear
from snip_cli.training.sparse.kernels.reading import read_tile
from snip_cli.training.sparse.kernels.vectors import WIDTH


@njit(**INNER)
def forward(tables, buffers, images, rows, blocks):
    """Compute the network's outputs for a batch of images."""
    for tile in range(-(-len(rows) // WIDTH)):
        some = rows[tile * WIDTH : (tile + 1) * WIDTH]
        if tables.convolutions:
            read_tile(images, tables.squares, tables.places, some, buffers.tiles[tile], 0)
            convolve(tables, buffers, tile, blocks)
            flatten(tables, buffers, tile)
        else:
            read_tile(images, tables.squares, tables.places, some, buffers.values, tile * WIDTH)
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
def train_chain(tables, buffers, images, batches, rates, settings, step, losses, blocks):
    """Train on a batch of images per row of `batches`, and write the loss of each to `losses`.

    Args:
        images: an `Images`.
        rates: the learning rate of each iteration.
        settings: see `optimize`.
        step: how many iterations came before.
    """
    for number in range(len(batches)):
        rows = batches[number]
        forward(tables, buffers, images, rows, blocks)
        losses[number] = loss_slopes(tables, buffers, images.labels, rows)
        backward(tables, buffers, len(rows), blocks)
        optimize(buffers, rates[number], settings, step + number + 1)
        reorder(tables, buffers)


@njit(cache=True, **OPTIONS)
def evaluate_chain(tables, buffers, images, batch, blocks):
    """Return how many images are classified wrongly, and the sum of their cross-entropies in nats, `batch` images at a time."""
    last, labels = tables.layers[len(tables.layers) - 1], images.labels
    wrong, loss = 0, 0.0
    for start in range(0, len(labels), batch):
        rows = np.arange(start, min(start + batch, len(labels)))
        forward(tables, buffers, images, rows, blocks)
        found = errors(buffers.values, last.found, last.found_stride, last.rows, labels[start:], len(rows))
        wrong, loss = wrong + found[0], loss + found[1]
    return wrong, loss
