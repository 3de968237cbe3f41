"""The arithmetic that one core can do at most, as a measure for the kernels."""

from numba import njit

from snip_cli.training.sparse.kernels.products import OPTIONS
from snip_cli.training.sparse.kernels.vectors import WIDTH, add, fill, lanes, multiply, store

CHAINS = lanes(10)


@njit(**OPTIONS)
def multiply_adds(room, times):
    """Do multiply-adds on ten independent vectors in registers, `times` times, and return how many numbers that were; `room`: 160 numbers."""
    sums, factor = fill(room, 0.5, CHAINS), fill(room, room[0], CHAINS)
    for _ in range(times):
        sums = add(multiply(sums, factor), factor)
    store(room, 0, sums)
    return times * len(CHAINS) * WIDTH
