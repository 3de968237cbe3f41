"""From the bytes of images, one image after another, to values pixel by pixel with the images of a tile innermost.

That is a transposition. It is done in registers, for squares of 16 images × 16 pixels; value by value it took a quarter of an iteration.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from snip_cli.training.sparse.kernels.products import INNER
from snip_cli.training.sparse.kernels.vectors import FLAGS, INT32, INT64, WIDTH, address, size, splat, vector_type

BYTES = ir.VectorType(ir.IntType(8), WIDTH)
NUMBERS = ir.VectorType(INT32, WIDTH)
LOWER, UPPER = (
    ir.Constant(NUMBERS, [half + place // 2 + place % 2 * WIDTH for place in range(WIDTH)]) for half in (0, WIDTH // 2)
)


@njit(**INNER)
def read_tile(images, reading, rows, out, at):
    """Write up to 16 images: pixel p of image b to out[at + place of p + b]. A tile of fewer repeats its last image.

    Args:
        images: an `Images`.
        reading: a `Reading`, whose places are those of `out`.
        rows: which images.
    """
    starts = np.empty(WIDTH, np.int64)
    for image in range(WIDTH):
        starts[image] = rows[min(image, len(rows) - 1)] * images.pixels.shape[1]
    for first in reading.squares:
        write_square(out, at, reading.places, images.scales, images.shifts, images.pixels, starts, first)


@intrinsic
def write_square(
    typing: Any,
    out: types.Array,
    at: types.Integer,
    places: types.Array,
    scales: types.Array,
    shifts: types.Array,
    pixels: types.Array,
    starts: types.Array,
    first: types.Integer,
) -> Any:
    """Write 16 pixels, from `first` on, of 16 images, which begin at `starts`; the other arguments are those of `read_tile` and `Images`."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        out_, at_, places_, scales_, shifts_, pixels_, starts_, first_ = arguments
        vector = vector_type(out.dtype)

        def element(array: types.Array, value: Any, number: Any) -> Any:
            return builder.load(address(context, builder, array, value, number))

        def bytes_of(image: int) -> Any:
            start = builder.add(element(starts, starts_, INT64(image)), first_)
            place = address(context, builder, pixels, pixels_, start)
            return builder.load(builder.bitcast(place, BYTES.as_pointer()), align=1)

        for number, found in enumerate(transposed(builder, [bytes_of(image) for image in range(WIDTH)])):
            pixel = builder.add(first_, INT64(number))
            values = builder.sitofp(builder.zext(found, NUMBERS), vector)
            scale, shift = (
                splat(builder, element(*each, pixel), vector) for each in ((scales, scales_), (shifts, shifts_))
            )
            values = builder.fadd(builder.fmul(values, scale, FLAGS), shift, FLAGS)
            to = address(context, builder, out, out_, builder.add(at_, element(places, places_, pixel)))
            builder.store(values, builder.bitcast(to, vector.as_pointer()), align=size(out.dtype))
        return context.get_dummy_value()

    return types.void(out, at, places, scales, shifts, pixels, starts, first), build


def transposed(builder: ir.IRBuilder, rows: list[Any]) -> list[Any]:
    """Return the columns of 16 vectors of 16 bytes: four times, every vector is interleaved with the one eight places on."""
    half = WIDTH // 2
    for _ in range(4):
        pairs = [(rows[number], rows[number + half]) for number in range(half)]
        rows = [builder.shuffle_vector(one, other, order) for one, other in pairs for order in (LOWER, UPPER)]
    return rows
