"""Vectors of 16 images in registers, for kernels that numba compiles.

Numba vectorises a loop only if it can rule out negative indices and overlapping arrays. These functions are written in LLVM's own
terms instead, so that one kept weight is one packed multiply-add on every processor. They work on `Block(count)`: `count` vectors that
lie one after another in memory. LLVM splits a vector that is wider than a register.

An address is a number of elements from the start of a one-dimensional array; nothing is checked.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

WIDTH = 16

# Vectors that are accumulated at a time. With 32 registers (AVX-512) a block of 12 leaves room for the operands; with 16 of half the
# width, 6 vectors take 12.
MOST = 12 if binding.get_host_cpu_features().get("avx512f") else 6

# A product may be contracted with a sum. Nothing is promised about NaN and infinity: a training that diverges must show it.
FLAGS = ("contract", "nsz")
FASTMATH = {"contract", "reassoc", "nsz"}

INT32, INT64 = ir.IntType(32), ir.IntType(64)


def lanes(count: int) -> tuple[int, ...]:
    """Return what tells a kernel, by its type, to work on `count` vectors."""
    return (0,) * count


class Block(types.Type):
    """`count` vectors of `WIDTH` numbers of type `dtype` (float32 or float64)."""

    def __init__(self, count: int, dtype: types.Float) -> None:
        self.count, self.dtype = count, dtype
        super().__init__(f"Block({count}, {dtype})")


@register_model(Block)
class BlockModel(models.PrimitiveModel):
    """A block is an array of LLVM vectors."""

    def __init__(self, manager: Any, block: Block) -> None:
        super().__init__(manager, block, ir.ArrayType(vector_type(block.dtype), block.count))


def vector_type(dtype: types.Float) -> ir.VectorType:
    """Return LLVM's type of a vector."""
    return ir.VectorType(ir.FloatType() if dtype == types.float32 else ir.DoubleType(), WIDTH)


def address(context: Any, builder: ir.IRBuilder, array: types.Array, value: Any, at: Any) -> Any:
    """Return a pointer to element `at` of an array."""
    return builder.gep(context.make_array(array)(context, builder, value).data, [at])


def pointers(builder: ir.IRBuilder, start: Any, vector: ir.VectorType, count: int) -> list[Any]:
    """Return pointers to `count` vectors, one after another, from `start` on."""
    first = builder.bitcast(start, vector.as_pointer())
    return [builder.gep(first, [INT64(number)]) for number in range(count)]


def splat(builder: ir.IRBuilder, number: Any, vector: ir.VectorType) -> Any:
    """Return a vector of equal numbers."""
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, number, INT32(0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(INT32, WIDTH), [0] * WIDTH))


def size(dtype: types.Float) -> int:
    """Return the bytes of a number."""
    return int(dtype.bitwidth) // 8


@intrinsic
def fill(typing: Any, like: types.Array, number: types.Float, lanes: types.UniTuple) -> Any:
    """Return a block of equal numbers, of the type of the array `like`."""
    block = Block(len(lanes), like.dtype)

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        value = context.cast(builder, arguments[1], number, like.dtype)
        return cgutils.pack_array(builder, [splat(builder, value, vector_type(like.dtype))] * block.count)

    return block(like, number, lanes), build


@intrinsic
def load(typing: Any, array: types.Array, at: types.Integer, lanes: types.UniTuple) -> Any:
    """Return the block from `at` on."""
    block = Block(len(lanes), array.dtype)

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        start = address(context, builder, array, arguments[0], arguments[1])
        places = pointers(builder, start, vector_type(array.dtype), block.count)
        return cgutils.pack_array(builder, [builder.load(place, align=size(array.dtype)) for place in places])

    return block(array, at, lanes), build


@intrinsic
def store(typing: Any, array: types.Array, at: types.Integer, block: Block) -> Any:
    """Store a block from `at` on."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        start = address(context, builder, array, arguments[0], arguments[1])
        places = pointers(builder, start, vector_type(array.dtype), block.count)
        for vector, place in zip(cgutils.unpack_tuple(builder, arguments[2], block.count), places, strict=True):
            builder.store(vector, place, align=size(array.dtype))
        return context.get_dummy_value()

    return types.void(array, at, block), build


@intrinsic
def multiply_add(typing: Any, block: Block, weight: types.Float, array: types.Array, at: types.Integer) -> Any:
    """Return block + weight · (the vectors of `array` from `at` on)."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        sums, factor, values, place = arguments
        vector = vector_type(block.dtype)
        factors = splat(builder, factor, vector)
        places = pointers(builder, address(context, builder, array, values, place), vector, block.count)
        return cgutils.pack_array(
            builder,
            [
                builder.fadd(total, builder.fmul(factors, builder.load(p, align=size(block.dtype)), FLAGS), FLAGS)
                for total, p in zip(cgutils.unpack_tuple(builder, sums, block.count), places, strict=True)
            ],
        )

    return block(block, weight, array, at), build


@intrinsic
def product_sum(typing: Any, block: Block, array: types.Array, at: types.Integer) -> Any:
    """Return one vector: the sum over a block's vectors of their products with those of `array` from `at` on."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        vector = vector_type(block.dtype)
        places = pointers(builder, address(context, builder, array, arguments[1], arguments[2]), vector, block.count)
        total = None
        for factor, place in zip(cgutils.unpack_tuple(builder, arguments[0], block.count), places, strict=True):
            product = builder.fmul(factor, builder.load(place, align=size(block.dtype)), FLAGS)
            total = product if total is None else builder.fadd(total, product, FLAGS)
        return cgutils.pack_array(builder, [total])

    return Block(1, block.dtype)(block, array, at), build


def pairwise(operation: str) -> Callable[..., Any]:
    """Return `operation(one, other)` for two blocks of one size, number by number; the operation by LLVM's name."""

    @intrinsic
    def apply(typing: Any, one: Block, other: Block) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            pairs = zip(*(cgutils.unpack_tuple(builder, argument, one.count) for argument in arguments), strict=True)
            return cgutils.pack_array(builder, [getattr(builder, operation)(a, b, flags=FLAGS) for a, b in pairs])

        return one(one, other), build

    return apply


add, multiply = pairwise("fadd"), pairwise("fmul")


@intrinsic
def total(typing: Any, block: Block) -> Any:
    """Return the sum of a vector's numbers, for a block of one vector. The halves are added, then their halves, and so on."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        value, width = builder.extract_value(arguments[0], 0), WIDTH
        while width > 1:
            width //= 2
            undefined = ir.Constant(value.type, ir.Undefined)
            lower, upper = (
                builder.shuffle_vector(
                    value, undefined, ir.Constant(ir.VectorType(INT32, width), list(range(start, start + width)))
                )
                for start in (0, width)
            )
            value = builder.fadd(lower, upper, FLAGS)
        return builder.extract_element(value, INT32(0))

    return block.dtype(block), build
