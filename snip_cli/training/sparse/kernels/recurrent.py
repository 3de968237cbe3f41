"""Training and evaluation of a recurrent network without the GIL: a projection of each row of an image, an LSTM or GRU, a classifier."""

from numba import njit

from snip_cli.training.sparse.kernels.cells import cells_backward, cells_forward
from snip_cli.training.sparse.kernels.chain import optimize
from snip_cli.training.sparse.kernels.gates import activate
from snip_cli.training.sparse.kernels.numbers import cross_entropy, errors, type_of
from snip_cli.training.sparse.kernels.products import INNER, ONE, OPTIONS, accumulate, clear, correlate_once, sum_of
from snip_cli.training.sparse.kernels.reading import read_tile
from snip_cli.training.sparse.kernels.vectors import WIDTH, fill, load, multiply_add, product_sum, store, total


@njit(**INNER)
def start_sums(tables, buffers):
    """Set what every result starts from, and the constant sums of each tile."""
    starts, memory, features = buffers.starts, buffers.memory, tables.sizes.features
    for number in range(len(starts)):
        starts[number] = tables.constants[number]
    for bias in range(len(tables.bias_results)):
        starts[tables.bias_results[bias]] += buffers.weights[tables.bias_weights[bias]]
    for number in range(len(tables.tiles)):
        for place in range(len(tables.sums)):
            scale, start = tables.scales[features + place], fill(memory, starts[features + place], ONE)
            store(memory, tables.tiles[number].sums + place * WIDTH, activate(start, scale) if scale else start)


@njit(**INNER)
def sum_rows(
    out, at, stride, values, place, weights, offsets, pointers, results, starts, scales, row, count, vectors, block
):
    """Compute `count` rows of results, from `row` on: their products with the values from `place` on, and the activation."""
    for number in range(row, row + count):
        result, first, end = results[number], pointers[number], pointers[number + 1]
        accumulate(out, at, starts[result], True, values, place, weights, offsets, first, end, block)
        if scales[result]:
            for here in range(at, at + vectors * WIDTH, WIDTH):
                store(out, here, activate(load(out, here, ONE), scales[result]))
        at += stride


@njit(**INNER)
def back_rows(out, to, stride, values, place, slopes, of, weights, gradients, offsets, pointers, row, count, block):
    """Compute the gradients of `count` rows that entries multiply, and add to the gradients of these entries.

    Args:
        out, to: where the gradients go.
        values, place: where the rows are.
        slopes, of: where the gradients of the results are.
        weights, gradients: by entry of the backward table.
        row: the first row's number in the backward table.
    """
    zero = type_of(out[0], 0)
    for number in range(row, row + count):
        value, sums = load(values, place, block), fill(out, zero, block)
        for entry in range(pointers[number], pointers[number + 1]):
            here = of + offsets[entry]
            sums = multiply_add(sums, weights[entry], slopes, here)
            gradients[entry] += total(product_sum(value, slopes, here))
        store(out, to, sums)
        to, place = to + stride, place + stride


@njit(**INNER)
def project_back(gradients, memory, at, stride, place, offsets, pointers, count, block):
    """Add to the gradients of the projection: the products of the features' gradients, from `at` on, with the pixels from `place` on."""
    for row in range(count):
        first, end = pointers[row], pointers[row + 1]
        correlate_once(gradients, False, memory, at, memory, place, offsets, first, end, block)
        at += stride


@njit(**INNER)
def forward(tables, buffers, images, rows, reading, cell, block):
    """Compute the network's outputs for a batch of images."""
    start_sums(tables, buffers)
    sizes, memory = tables.sizes, buffers.memory
    fixed = (buffers.weights, tables.offsets, tables.pointers, tables.results, buffers.starts, tables.scales)
    width = sizes.vectors * WIDTH
    for number in range(-(-len(rows) // width)):
        tile, some = tables.tiles[number], rows[number * width : (number + 1) * width]
        for start in range(0, len(some), WIDTH):
            read_tile(images, reading, some[start:], memory, tile.pixels + start)
        for step in range(sizes.steps):
            values, sums = (
                tile.values + step * sizes.read * sizes.stride,
                tile.first_row + step * sizes.rows * sizes.stride,
            )
            pixels = tile.pixels + step * sizes.columns * sizes.stride
            sum_rows(memory, values, sizes.stride, memory, pixels, *fixed, 0, sizes.features, sizes.vectors, block)
            sum_rows(
                memory, sums, sizes.stride, memory, values, *fixed, sizes.features, sizes.rows, sizes.vectors, block
            )
            cells_forward(cell, memory, tables.sums, tile, sizes, step)
        last = tile.values + sizes.steps * sizes.read * sizes.stride
        sum_rows(
            *(buffers.outputs, number * width, len(buffers.labels), memory, last),
            *(*fixed, sizes.features + sizes.rows, sizes.classes, sizes.vectors, block),
        )


@njit(**INNER)
def backward(tables, buffers, count, cell, block):
    """Set the gradients of all weights; those of the outputs of `count` images are in place."""
    sizes, memory = tables.sizes, buffers.memory
    for entry in range(len(tables.back_order)):
        buffers.back_weights[entry] = buffers.weights[tables.back_order[entry]]
    clear(buffers.gradients, 0, len(buffers.gradients))
    clear(buffers.back_gradients, 0, len(buffers.back_gradients))
    clear(memory, tables.tiles[0].biases, len(tables.sums) * WIDTH)
    fixed = (buffers.back_weights, buffers.back_gradients, tables.back_offsets, tables.back_pointers)
    stride, width = sizes.stride, sizes.vectors * WIDTH
    for number in range(-(-count // width)):
        tile = tables.tiles[number]
        units = tile.slopes + sizes.features * stride
        last = tile.values + (sizes.steps * sizes.read + sizes.features) * stride
        back_rows(
            memory, units, stride, memory, last, buffers.slopes, number * width, *fixed, sizes.read, sizes.units, block
        )
        clear(memory, tile.carried, sizes.units * stride)
        for step in range(sizes.steps - 1, -1, -1):
            cells_backward(cell, memory, tables.sums, tile, sizes, step)
            values, sums = tile.values + step * sizes.read * stride, tile.first_row + step * sizes.rows * stride
            read = sizes.read if step else sizes.features
            back_rows(memory, tile.slopes, stride, memory, values, memory, sums, *fixed, 0, read, block)
            pixels = tile.pixels + step * sizes.columns * stride
            project_back(
                *(buffers.gradients, memory, tile.slopes, stride, pixels),
                *(tables.offsets, tables.pointers, sizes.features, block),
            )
    for entry in range(len(tables.back_order)):
        buffers.gradients[tables.back_order[entry]] = buffers.back_gradients[entry]
    bias_gradients(tables, buffers)


@njit(**INNER)
def bias_gradients(tables, buffers):
    """Set the gradients of the kept biases."""
    width, biases = len(buffers.labels), tables.tiles[0].biases
    for bias in range(len(tables.bias_results)):
        number, of = tables.bias_results[bias] - tables.sizes.features, tables.bias_weights[bias]
        if number < len(tables.sums):
            buffers.gradients[of] = total(load(buffers.memory, biases + number * WIDTH, ONE))
        else:
            buffers.gradients[of] = sum_of(buffers.slopes, (number - len(tables.sums)) * width, width)


@njit(cache=True, **OPTIONS)
def run_recurrent(tables, buffers, images, batches, rates, settings, step, losses, wrong, reading, cell, block):
    """Train on the images of each row of `batches`, or evaluate them. One function does both, because it is compiled once.

    Args:
        images, reading: an `Images` and a `Reading`.
        rates: the learning rate of each iteration; none to evaluate.
        settings: see `chain.optimize`.
        step: how many iterations came before.
        losses: receives the loss of each row in nats, in training the mean over its images, in an evaluation the sum.
        wrong: receives how many images of each row are classified wrongly, in an evaluation.
    """
    width, classes = len(buffers.labels), tables.sizes.classes
    for number in range(len(batches)):
        rows = batches[number]
        forward(tables, buffers, images, rows, reading, cell, block)
        for image in range(len(rows)):
            buffers.labels[image] = images.labels[rows[image]]
        if len(rates):
            losses[number] = cross_entropy(
                *(buffers.outputs, 0, width, classes, buffers.labels, len(rows)),
                *(buffers.slopes, buffers.highest, buffers.exponentials),
            )
            backward(tables, buffers, len(rows), cell, block)
            optimize(buffers, rates[number], settings, step + number + 1)
        else:
            found = errors(buffers.outputs, 0, width, classes, buffers.labels, len(rows))
            wrong[number], losses[number] = found
