"""Comparisons of vectors, number by number: the larger of two, which one that was, and where numbers are positive."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from snip_cli.training.sparse.kernels.vectors import WIDTH, Block, address, splat, vector_type


class Choice(types.Type):
    """A vector of `WIDTH` small integers."""


choice_type = Choice("Choice")


@register_model(Choice)
class ChoiceModel(models.PrimitiveModel):
    """A vector of bytes."""

    def __init__(self, manager: Any, choice: Choice) -> None:
        super().__init__(manager, choice, ir.VectorType(ir.IntType(8), WIDTH))


def is_larger(builder: ir.IRBuilder, candidate: Any, best: Any) -> Any:
    """Return where `candidate` is larger than `best`, or NaN."""
    return builder.or_(builder.fcmp_ordered(">", candidate, best), builder.fcmp_unordered("uno", candidate, candidate))


@intrinsic
def first_choice(typing: Any) -> Any:
    """Return the number 0 for each of 16 images."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return ir.Constant(ir.VectorType(ir.IntType(8), WIDTH), [0] * WIDTH)

    return choice_type(), build


@intrinsic
def larger(typing: Any, candidate: Block, best: Block) -> Any:
    """Return the larger of two vectors, number by number; NaN where either is NaN."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        a, b = (builder.extract_value(argument, 0) for argument in arguments)
        return cgutils.pack_array(builder, [builder.select(is_larger(builder, a, b), a, b)])

    return best(candidate, best), build


@intrinsic
def choose(typing: Any, choice: Choice, number: types.Integer, candidate: Block, best: Block) -> Any:
    """Return `number` where `candidate` is larger than `best`, or NaN, and `choice` elsewhere."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        old, new, a, b = arguments
        a, b = builder.extract_value(a, 0), builder.extract_value(b, 0)
        news = splat(builder, builder.trunc(new, ir.IntType(8)), ir.VectorType(ir.IntType(8), WIDTH))
        return builder.select(is_larger(builder, a, b), news, old)

    return choice_type(choice, types.int64, candidate, best), build


@intrinsic
def store_choice(typing: Any, array: types.Array, at: types.Integer, choice: Choice) -> Any:
    """Store 16 bytes from `at` on."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        start = address(context, builder, array, arguments[0], arguments[1])
        builder.store(arguments[2], builder.bitcast(start, arguments[2].type.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(array, at, choice), build


@intrinsic
def load_choice(typing: Any, array: types.Array, at: types.Integer) -> Any:
    """Return the 16 bytes from `at` on."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        start = address(context, builder, array, arguments[0], arguments[1])
        vector = ir.VectorType(ir.IntType(8), WIDTH)
        return builder.load(builder.bitcast(start, vector.as_pointer()), align=1)

    return choice_type(array, at), build


@intrinsic
def where_chosen(typing: Any, choice: Choice, number: types.Integer, block: Block) -> Any:
    """Return the vector where `choice` is `number`, and 0 elsewhere."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        chosen, wanted, values = arguments
        vector = builder.extract_value(values, 0)
        wanted = splat(builder, builder.trunc(wanted, ir.IntType(8)), chosen.type)
        zero = ir.Constant(vector.type, [0.0] * WIDTH)
        return cgutils.pack_array(builder, [builder.select(builder.icmp_signed("==", chosen, wanted), vector, zero)])

    return block(choice, types.int64, block), build


@intrinsic
def where_positive(typing: Any, block: Block, sign: Block) -> Any:
    """Return the vectors where `sign` is above 0, or NaN, and 0 elsewhere."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        values, signs = (cgutils.unpack_tuple(builder, argument, block.count) for argument in arguments)
        zero = ir.Constant(vector_type(block.dtype), [0.0] * WIDTH)
        kept = [
            builder.select(builder.fcmp_unordered("ugt", by, zero), value, zero)
            for value, by in zip(values, signs, strict=True)
        ]
        return cgutils.pack_array(builder, kept)

    return block(block, sign), build
