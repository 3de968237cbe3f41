"""Training and evaluation of a chain without the GIL: convolutions, then linear layers."""

from numba import njit

from snip_cli.training.sparse.kernels.convolutions import convolve, convolve_back, flatten, unflatten
from snip_cli.training.sparse.kernels.linear import apply_linear, linear_gradients
from snip_cli.training.sparse.kernels.numbers import adam, cross_entropy, errors, sgd, type_of
from snip_cli.training.sparse.kernels.products import INNER, OPTIONS, add_up, clear
from snip_cli.training.sparse.kernels.reading import read_tile
from snip_cli.training.sparse.kernels.vectors import WIDTH


@njit(**INNER)
def forward(tables, buffers, images, rows, reading, tiles, blocks):
    """Compute the network's outputs for a batch of images."""
    for tile in range(-(-len(rows) // WIDTH)):
        some = rows[tile * WIDTH : (tile + 1) * WIDTH]
        if tiles is not None:
            read_tile(images, reading, some, tiles[tile], 0)
            convolve(tables, buffers, tile, blocks)
            flatten(tables, buffers, tile)
        else:
            read_tile(images, reading, some, buffers.values, tile * WIDTH)
    apply_linear(tables, buffers, blocks)


@njit(**INNER)
def backward(tables, buffers, count, tiles, blocks):
    """Set the gradients of all weights; the slopes of the outputs are in place."""
    linear_gradients(tables, buffers, blocks)
    if tiles is not None:
        for number in range(tables.convolutions):
            layer = tables.layers[number]
            clear(buffers.gradients, layer.bias, layer.rows)
        for tile in range(-(-count // WIDTH)):
            unflatten(tables, buffers, tile)
            convolve_back(tables, buffers, tile, blocks)
        add_up(buffers.gradients, buffers.sums)


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
def run_chain(tables, buffers, images, batches, rates, settings, step, losses, wrong, reading, tiles, blocks):
    """Train on the images of each row of `batches`, or evaluate them; see `runs.Runs`.

    Args:
        images: an `Images`.
        settings: see `optimize`.
        reading: a `Reading`.
        tiles: those of the buffers; None for a network without convolutions, whose kernels are then not compiled.
    """
    last = tables.layers[len(tables.layers) - 1]
    for number in range(len(batches)):
        rows = batches[number]
        forward(tables, buffers, images, rows, reading, tiles, blocks)
        for image in range(len(rows)):
            buffers.labels[image] = images.labels[rows[image]]
        outputs = (buffers.values, last.found, last.found_stride, last.rows, buffers.labels)
        if len(rates):
            losses[number] = cross_entropy(*outputs, len(rows), buffers.slopes, buffers.highest, buffers.exponentials)
            backward(tables, buffers, len(rows), tiles, blocks)
            optimize(buffers, rates[number], settings, step + number + 1)
            reorder(tables, buffers)
        else:
            wrong[number], losses[number] = errors(*outputs, len(rows))
