"""Max-pooling of the planes of a tile, with ReLU, and its gradient.

A plane holds one channel of a tile of 16 images, pixel by pixel, image by image. Of equal values the first counts, row by row; NaN counts as
the largest, as in PyTorch.
"""

from numba import njit

from snip_cli.training.sparse.kernels.choices import (
    choose,
    first_choice,
    larger,
    load_choice,
    store_choice,
    where_chosen,
)
from snip_cli.training.sparse.kernels.products import INNER, ONE, clear
from snip_cli.training.sparse.kernels.vectors import WIDTH, add, fill, load, store


@njit(**INNER)
def pool(values, at, layer, out, to, choices, chosen_at):
    """Pool the plane from `at` on into the plane of `out` from `to` on; `choices` receives which pixel of each window was the largest.

    `layer` is a record of `chain.LAYER`; with its `relu`, negative maxima become 0.
    """
    zero = fill(out, 0.0, ONE)
    for y in range(layer.pool_rows):
        for x in range(layer.pool_columns):
            corner = at + (y * layer.pool_step_y * layer.columns + x * layer.pool_step_x) * WIDTH
            best, choice = load(values, corner, ONE), first_choice()
            for ky in range(layer.pool_y):
                for kx in range(layer.pool_x):
                    value = load(values, corner + (ky * layer.columns + kx) * WIDTH, ONE)
                    choice = choose(choice, ky * layer.pool_x + kx, value, best)
                    best = larger(value, best)
            here = (y * layer.pool_columns + x) * WIDTH
            store(out, to + here, larger(best, zero) if layer.relu else best)
            store_choice(choices, chosen_at + here, choice)


@njit(**INNER)
def unpool(slopes, at, layer, choices, chosen_at, to):
    """Hand the gradients of a pooled plane, from `at` on, to the chosen pixels of the plane from `to` on."""
    clear(slopes, to, layer.plane_stride)
    for y in range(layer.pool_rows):
        for x in range(layer.pool_columns):
            here = (y * layer.pool_columns + x) * WIDTH
            slope, choice = load(slopes, at + here, ONE), load_choice(choices, chosen_at + here)
            corner = to + (y * layer.pool_step_y * layer.columns + x * layer.pool_step_x) * WIDTH
            for ky in range(layer.pool_y):
                for kx in range(layer.pool_x):
                    pixel = corner + (ky * layer.columns + kx) * WIDTH
                    part = where_chosen(choice, ky * layer.pool_x + kx, slope)
                    store(slopes, pixel, add(load(slopes, pixel, ONE), part))
