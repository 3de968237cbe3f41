"""Products with the kept weights of a layer, forwards and backwards, and the gradients of these weights.

A layer's weights are a table with a row per output: an entry is one kept weight, with the place of what it multiplies. A linear layer is
a convolution of one pixel. Values lie channel by channel, pixel by pixel, with the images of a tile innermost; so one entry multiplies
the pixels of an image row, for all images of a tile, as one contiguous run of vectors (see `tables`).
"""

from typing import Any

from numba import literal_unroll, njit

from snip_cli.training.sparse.kernels.vectors import (
    FASTMATH,
    WIDTH,
    add,
    fill,
    lanes,
    load,
    multiply_add,
    product_sum,
    store,
    total,
)

OPTIONS: dict[str, Any] = {"fastmath": FASTMATH, "error_model": "numpy", "nogil": True}
# Of functions that only kernels call: wrappers for Python would take a fifth of the time to compile.
INNER = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

ONE = lanes(1)


@njit(inline="always", **INNER)
def accumulate(out, at, start, fresh, values, place, weights, offsets, first, end, block):
    """Add weight · values to a block of `out`, for the entries [first, end).

    A fresh block starts from the number `start`, another one from what it holds.
    """
    sums = fill(out, start, block) if fresh else load(out, at, block)
    for entry in range(first, end):
        sums = multiply_add(sums, weights[entry], values, place + offsets[entry])
    store(out, at, sums)


@njit(inline="always", **INNER)
def correlate(sums, slopes, at, values, place, offsets, first, end, block):
    """Add slope · values, image by image, to the vector of sums of each entry in [first, end)."""
    slope = load(slopes, at, block)
    for entry in range(first, end):
        here = entry * WIDTH
        store(sums, here, add(load(sums, here, ONE), product_sum(slope, values, place + offsets[entry])))


@njit(inline="always", **INNER)
def correlate_once(gradients, fresh, slopes, at, values, place, offsets, first, end, block):
    """Add slope · values, summed over the images, to the gradient of each entry in [first, end); a fresh one is set."""
    slope = load(slopes, at, block)
    for entry in range(first, end):
        found = total(product_sum(slope, values, place + offsets[entry]))
        gradients[entry] = found if fresh else gradients[entry] + found


@njit(**INNER)
def run_forward(out, at, bias, values, place, weights, offsets, entry, pointers, pointer, runs, run, run_end, blocks):
    """Compute one output of a layer: all pixels of a tile.

    Args:
        out, at: where the output's plane begins.
        values, place: where the layer's input begins.
        weights: of the entries; `offsets[entry:]` are their places.
        pointers: from `pointer` on, where the entries of each tap of this output begin, and where the last one's end, less `entry`.
        runs: rows (fresh, place in the output's plane, place in an input plane, vectors, first tap, end of the taps), from `run` on.
        blocks: the numbers of vectors that occur, as types.
    """
    for number in range(run, run_end):
        fresh, count = runs[number, 0] != 0, runs[number, 3]
        to, of = at + runs[number, 1], place + runs[number, 2]
        first, end = entry + pointers[pointer + runs[number, 4]], entry + pointers[pointer + runs[number, 5]]
        for block in literal_unroll(blocks):
            if len(block) == count:
                accumulate(out, to, bias, fresh, values, of, weights, offsets, first, end, block)


@njit(**INNER)
def run_gradients(sums, slopes, at, values, place, offsets, entry, pointers, pointer, runs, run, run_end, blocks):
    """Add one tile's part to the vectors of sums of one output's entries; the arguments are those of `run_forward`."""
    for number in range(run, run_end):
        first, end = entry + pointers[pointer + runs[number, 4]], entry + pointers[pointer + runs[number, 5]]
        to, of = at + runs[number, 1], place + runs[number, 2]
        if first < end:
            for block in literal_unroll(blocks):
                if len(block) == runs[number, 3]:
                    correlate(sums, slopes, to, values, of, offsets, first, end, block)


@njit(**INNER)
def row_gradients(gradients, slopes, at, values, place, offsets, entry, pointers, pointer, runs, run, run_end, blocks):
    """Set the gradients of one output's entries in a layer of one pixel; the arguments are those of `run_forward`."""
    for number in range(run, run_end):
        first, end = entry + pointers[pointer], entry + pointers[pointer + 1]
        to, of = at + runs[number, 1], place + runs[number, 2]
        for block in literal_unroll(blocks):
            if len(block) == runs[number, 3]:
                correlate_once(gradients, number == run, slopes, to, values, of, offsets, first, end, block)


@njit(**INNER)
def add_up(gradients, sums):
    """Set the gradient of each of the first entries to the total of its vector of sums, and these to zero."""
    for entry in range(len(sums) // WIDTH):
        gradients[entry] = total(load(sums, entry * WIDTH, ONE))
    clear(sums, 0, len(sums))


@njit(**INNER)
def clear(values, at, count):
    """Set `count` numbers to 0."""
    for place in range(at, at + count):
        values[place] = 0


@njit(**INNER)
def sum_of(values, at, count):
    """Return the sum of `count` numbers, which are whole vectors."""
    found = load(values, at, ONE)
    for place in range(at + WIDTH, at + count, WIDTH):
        found = add(found, load(values, place, ONE))
    return total(found)
