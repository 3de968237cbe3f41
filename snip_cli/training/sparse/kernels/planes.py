"""Convolutions of stride 1 over padded planes, with the kept weights alone, and 2×2 max-pooling.

A plane holds one channel of 16 images, pixel by pixel, image by image, with zeros around it (see `planes.geometry`). So one kept weight
multiplies a run of pixels that goes over the ends of rows, and no pixel is a special case. What a convolution writes between the rows has
no meaning. Kernels work on the tiles [begin, end), so that threads can share them.
"""

from numba import literal_unroll, njit

from snip_cli.training.sparse.kernels.choices import (
    choose,
    first_choice,
    larger,
    load_choice,
    store_choice,
    where_chosen,
)
from snip_cli.training.sparse.kernels.products import ONE, OPTIONS, accumulate, correlate
from snip_cli.training.sparse.kernels.vectors import WIDTH, load, store, total


@njit(cache=True, **OPTIONS)
def convolve(out, values, plane, channels, weights, offsets, pointers, biases, runs, begin, end, blocks):
    """Compute a convolution, or with the transposed table the gradients of its inputs.

    Args:
        out, values: of all tiles. plane: the numbers of a plane. channels: of `values`.
        weights: of the entries; `offsets` are their places relative to an output's pixel, from the first channel on.
        pointers: where the entries of each output begin, and the last one's end.
        biases: of the outputs.
        runs: rows (place in a plane, vectors); together they cover all pixels. They are the outer loop, so that what a run reads of all
            channels stays in the second cache.
        blocks: the numbers of vectors that occur, as types.
    """
    outputs = len(pointers) - 1
    for tile in range(begin, end):
        for run in range(len(runs)):
            at, count = runs[run, 0], runs[run, 1]
            of, to = tile * channels * plane + at, tile * outputs * plane + at
            for output in range(outputs):
                first, last = pointers[output], pointers[output + 1]
                for block in literal_unroll(blocks):
                    if len(block) == count:
                        accumulate(out, to, biases[output], True, values, of, weights, offsets, first, last, block)
                to += plane


@njit(cache=True, **OPTIONS)
def weight_gradients(gradients, sums, slopes, values, plane, channels, offsets, pointers, runs, begin, end, blocks):
    """Set the gradient of each entry to what the tiles [begin, end) add to it; the other arguments are those of `convolve`.

    Args:
        sums: room for a vector per entry; 0 before and after.
        slopes: the gradients of the outputs, 0 between the rows.
    """
    outputs = len(pointers) - 1
    for tile in range(begin, end):
        for run in range(len(runs)):
            at, count = runs[run, 0], runs[run, 1]
            of, to = tile * channels * plane + at, tile * outputs * plane + at
            for output in range(outputs):
                first, last = pointers[output], pointers[output + 1]
                if first < last:
                    for block in literal_unroll(blocks):
                        if len(block) == count:
                            correlate(sums, slopes, to, values, of, offsets, first, last, block)
                to += plane
    for entry in range(len(gradients)):
        gradients[entry] = total(load(sums, entry * WIDTH, ONE))
    sums[:] = 0


@njit(cache=True, **OPTIONS)
def pool_planes(out, choices, to_plane, to_pitch, values, plane, pitch, height, columns, channels, begin, end):
    """Write the largest of each 2×2 pixels, and to `choices` which one it was.

    Args:
        height, columns: of the pooled image. to_plane, plane: the numbers of a plane. to_pitch, pitch: the pixels of a row.
    """
    for number in range(begin * channels, end * channels):
        for y in range(height):
            to = number * to_plane + ((y + 1) * to_pitch + 1) * WIDTH
            corner = number * plane + ((2 * y + 1) * pitch + 1) * WIDTH
            for _ in range(columns):
                best, choice = load(values, corner, ONE), first_choice()
                for pixel in range(1, 4):
                    value = load(values, corner + (pixel // 2 * pitch + pixel % 2) * WIDTH, ONE)
                    choice = choose(choice, pixel, value, best)
                    best = larger(value, best)
                store(out, to, best)
                store_choice(choices, to, choice)
                to += WIDTH
                corner += 2 * WIDTH


@njit(cache=True, **OPTIONS)
def unpool_planes(out, plane, pitch, slopes, choices, to_plane, to_pitch, height, columns, channels, begin, end):
    """Hand the gradients of pooled pixels to the chosen ones, and 0 to the others; the arguments are those of `pool_planes`."""
    for number in range(begin * channels, end * channels):
        for y in range(height):
            of = number * to_plane + ((y + 1) * to_pitch + 1) * WIDTH
            corner = number * plane + ((2 * y + 1) * pitch + 1) * WIDTH
            for _ in range(columns):
                slope, choice = load(slopes, of, ONE), load_choice(choices, of)
                for pixel in range(4):
                    place = corner + (pixel // 2 * pitch + pixel % 2) * WIDTH
                    store(out, place, where_chosen(choice, pixel, slope))
                of += WIDTH
                corner += 2 * WIDTH
