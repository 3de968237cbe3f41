"""What convolutions and linear layers share: ReLU, and the gradients of their inputs."""

from numba import njit

from snip_cli.training.sparse.kernels.choices import larger, where_positive
from snip_cli.training.sparse.kernels.numbers import type_of
from snip_cli.training.sparse.kernels.products import INNER, ONE, run_forward
from snip_cli.training.sparse.kernels.vectors import WIDTH, fill, load, store


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
