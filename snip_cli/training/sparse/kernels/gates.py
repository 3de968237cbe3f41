"""The activations of gates on vectors: the logistic function and the hyperbolic tangent, which is the same function on another scale."""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from snip_cli.training.sparse.kernels.vectors import FLAGS, INT32, WIDTH, Block, pairwise, splat, vector_type

subtract = pairwise("fsub")

# 2^y = 2^n · 2^r with |r| ≤ 1/2. This polynomial is 2^r to a relative error of 3e-7, highest power first.
SERIES = np.polynomial.Chebyshev.interpolate(np.exp2, 5, domain=[-0.5, 0.5]).convert(kind=np.polynomial.Polynomial)
FACTORS = tuple(float(factor) for factor in SERIES.coef[::-1])
# Adding this to n puts n + 127, the exponent of 2^n, into the lowest bits of a number in float32.
EXPONENT = 1.5 * 2.0**23 + 127
# Beyond these, 2^n is no normal number.
LOWEST, HIGHEST = -126.0, 126.0


@intrinsic
def activate(typing: Any, block: Block, scale: types.Float) -> Any:
    """Return scale / (1 + e^(-scale · x)) + 1 - scale: for scale 1 the logistic function, for scale 2 the hyperbolic tangent.

    In float32 to an absolute error of 5e-7. NaN stays NaN.
    """

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        vector = vector_type(block.dtype)
        power, base = (two_to_the, 2.0) if block.dtype == types.float32 else (e_to_the, math.e)
        one = constant(vector, 1.0)
        factor = splat(builder, context.cast(builder, arguments[1], scale, block.dtype), vector)
        exponent, rest = builder.fmul(factor, constant(vector, -1 / math.log(base))), builder.fsub(one, factor)
        found = []
        for value in cgutils.unpack_tuple(builder, arguments[0], block.count):
            powered = power(builder, builder.fmul(value, exponent, FLAGS))
            found.append(builder.fadd(builder.fdiv(factor, builder.fadd(one, powered, FLAGS), FLAGS), rest, FLAGS))
        return cgutils.pack_array(builder, found)

    return block(block, scale), build


def constant(vector: ir.VectorType, number: float) -> ir.Constant:
    """Return a vector of equal numbers that are known when a kernel is compiled."""
    return ir.Constant(vector, [number] * WIDTH)


def of_each(builder: ir.IRBuilder, name: str, value: Any) -> Any:
    """Return LLVM's function `name` of each number of a vector."""
    letter = "f32" if value.type.element == ir.FloatType() else "f64"
    kind = ir.FunctionType(value.type, [value.type])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{WIDTH}{letter}"), [value])


def e_to_the(builder: ir.IRBuilder, exponent: Any) -> Any:
    """Return e^exponent in float64."""
    return of_each(builder, "exp", exponent)


def two_to_the(builder: ir.IRBuilder, exponent: Any) -> Any:
    """Return 2^exponent in float32."""
    vector = exponent.type
    lowest, highest = constant(vector, LOWEST), constant(vector, HIGHEST)
    exponent = builder.select(builder.fcmp_ordered("<", exponent, lowest), lowest, exponent)
    exponent = builder.select(builder.fcmp_ordered(">", exponent, highest), highest, exponent)
    whole = of_each(builder, "rint", exponent)
    rest = builder.fsub(exponent, whole)
    series = constant(vector, FACTORS[0])
    for factor in FACTORS[1:]:
        series = builder.fadd(builder.fmul(series, rest, FLAGS), constant(vector, factor), FLAGS)
    integers = ir.VectorType(INT32, WIDTH)
    bits = builder.bitcast(builder.fadd(whole, constant(vector, EXPONENT)), integers)
    power = builder.bitcast(builder.shl(bits, ir.Constant(integers, [23] * WIDTH)), vector)
    return builder.fmul(series, power, FLAGS)
