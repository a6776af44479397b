"""Floating-point formats inside kernels: an array's dtype says which one its values have.

numpy has no bfloat16 and numba no float16, so both come as their bits: ``uint16`` is bfloat16, ``int16`` is float16,
and ``float32`` is itself. Each function here is one machine instruction or a few, and vectorizes inside any loop; all
round to the nearest, ties to even, as torch does.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# ruff: noqa: ARG001

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF = ir.HalfType()
FLOAT = ir.FloatType()
INT8 = ir.IntType(8)
INT16 = ir.IntType(16)
INT32 = ir.IntType(32)
REORDERED = ["reassoc", "contract", "nsz"]


def as_bits(values: NDArray[Any]) -> NDArray[Any]:
    """Return values the way that kernels take them, without a copy."""
    return values.view(np.int16) if values.dtype == np.float16 else values


def _widened(builder, value, kind):
    """Emit the float32 of a value of a format, which is exact."""
    if kind == types.uint16:
        return builder.bitcast(builder.shl(builder.zext(value, INT32), INT32(16)), FLOAT)
    return builder.fpext(builder.bitcast(value, HALF), FLOAT) if kind == types.int16 else value


@intrinsic
def widen(typing, value):
    """Return a value as float32."""

    def emit(context, builder, signature, arguments):
        return _widened(builder, arguments[0], signature.args[0])

    return types.float32(value), emit


@intrinsic
def narrow(typing, value, like):
    """Return a float32 rounded to the format of another value, as that format's bits."""

    def emit(context, builder, signature, arguments):
        if signature.return_type == types.float32:
            return arguments[0]
        if signature.return_type == types.int16:
            return builder.bitcast(builder.fptrunc(arguments[0], HALF), INT16)
        bits = builder.bitcast(arguments[0], INT32)
        odd = builder.and_(builder.lshr(bits, INT32(16)), INT32(1))
        rounded = builder.add(builder.add(bits, INT32(0x7FFF)), odd)
        return builder.trunc(builder.lshr(rounded, INT32(16)), INT16)

    return like(types.float32, like), emit


@intrinsic
def magnitude(typing, value):
    """Return the bits of an absolute value, which order as the values do and make a maximum that vectorizes."""

    def emit(context, builder, signature, arguments):
        if signature.args[0] == types.float32:
            return builder.and_(builder.bitcast(arguments[0], INT32), INT32(0x7FFFFFFF))
        return builder.zext(builder.and_(arguments[0], INT16(0x7FFF)), INT32)

    return types.int32(value), emit


@intrinsic
def of_magnitude(typing, bits, like):
    """Return the float32 of a `magnitude` in the format of another value."""

    def emit(context, builder, signature, arguments):
        kind = signature.args[1]
        if kind == types.float32:
            return builder.bitcast(arguments[0], FLOAT)
        return _widened(builder, builder.trunc(arguments[0], INT16), kind)

    return types.float32(types.int32, like), emit


@intrinsic
def ordered(typing, value):
    """Return an int32 that orders as the values do, -0.0 before 0.0."""

    def emit(context, builder, signature, arguments):
        bits = builder.bitcast(_widened(builder, arguments[0], signature.args[0]), INT32)
        return _mirrored(builder, bits)

    return types.int32(value), emit


@intrinsic
def of_ordered(typing, key):
    """Return the float32 of an int32 that `ordered` gave."""

    def emit(context, builder, signature, arguments):
        return builder.bitcast(_mirrored(builder, arguments[0]), FLOAT)

    return types.float32(types.int32), emit


def _mirrored(builder, bits):
    """Emit the complement of all bits but the sign where that is set, which undoes itself."""
    return builder.xor(bits, builder.lshr(builder.ashr(bits, INT32(31)), INT32(1)))


@intrinsic
def nearest(typing, value):
    """Return a float32 of less than 2**22 rounded to an integer.

    Not by the instruction for it: of a float16 made float32, LLVM rounds the float16, which no x86 does in vectors.
    """

    def emit(context, builder, signature, arguments):
        large = FLOAT(1.5 * 2**23)  # a float32 of this size has no bit below one
        return builder.fsub(builder.fadd(arguments[0], large), large)

    return types.float32(types.float32), emit


@intrinsic
def add(typing, total, term):
    """Return a float64 sum in an order that the compiler may choose, without which the sum of a loop cannot vectorize.

    Nothing that is published comes of it but the SQNR in a report.
    """

    def emit(context, builder, signature, arguments):
        return builder.fadd(*arguments, flags=REORDERED)

    return types.float64(types.float64, types.float64), emit


@intrinsic
def add_square(typing, total, value):
    """Return a float32 total with the square of a value added, in an order that the compiler may choose; see `add`."""

    def emit(context, builder, signature, arguments):
        square = builder.fmul(arguments[1], arguments[1], flags=["contract"])
        return builder.fadd(arguments[0], square, flags=REORDERED)

    return types.float32(types.float32, types.float32), emit


@intrinsic
def add_product(typing, total, one, other):
    """Return a float32 total with a product added, in an order that the compiler may choose; see `add`."""

    def emit(context, builder, signature, arguments):
        product = builder.fmul(arguments[1], arguments[2], flags=["contract"])
        return builder.fadd(arguments[0], product, flags=REORDERED)

    return types.float32(types.float32, types.float32, types.float32), emit


@intrinsic
def round_to_float8(typing, value):
    """Return a float32 of at most 448 rounded to e4m3."""

    def emit(context, builder, signature, arguments):
        return _rounded(builder, arguments[0], digits=3, smallest=-6)

    return types.float32(types.float32), emit


@intrinsic
def float8_code(typing, value):
    """Return the e4m3 bits of a float32 that `round_to_float8` gave."""

    def emit(context, builder, signature, arguments):
        return _code(builder, arguments[0], digits=3, smallest=-6, sign=0x80)

    return types.uint8(types.float32), emit


@intrinsic
def round_to_float4(typing, value):
    """Return a float32 of at most 6 rounded to e2m1."""

    def emit(context, builder, signature, arguments):
        return _rounded(builder, arguments[0], digits=1, smallest=0)

    return types.float32(types.float32), emit


@intrinsic
def float4_code(typing, value):
    """Return the e2m1 bits of a float32 that `round_to_float4` gave."""

    def emit(context, builder, signature, arguments):
        return _code(builder, arguments[0], digits=1, smallest=0, sign=0x8)

    return types.uint8(types.float32), emit


def _rounded(builder, value, digits, smallest):
    """Emit a value rounded to some binary digits after the first, and to no finer steps below a power of two."""
    bits = builder.bitcast(value, INT32)
    size = builder.and_(bits, INT32(0x7FFFFFFF))
    exponent = builder.and_(size, INT32(0x7F800000))
    least = INT32(_bits_of_power(smallest))  # where the denormals begin
    exponent = builder.select(builder.icmp_unsigned(">", exponent, least), exponent, least)
    # A float32 has 23 bits after the first: the sum with a power of two this much larger has no more left than asked.
    large = builder.bitcast(builder.add(exponent, INT32((23 - digits) << 23)), FLOAT)
    rounded = builder.fsub(builder.fadd(builder.bitcast(size, FLOAT), large), large)
    return builder.bitcast(builder.or_(builder.bitcast(rounded, INT32), builder.and_(bits, INT32(-0x80000000))), FLOAT)


def _code(builder, value, digits, smallest, sign):
    """Emit the bits, in a format of at most eight, of a value that `_rounded` gave."""
    bits = builder.bitcast(value, INT32)
    size = builder.and_(bits, INT32(0x7FFFFFFF))
    least = INT32(_bits_of_power(smallest))
    # Denormals are multiples of the last bit that the format has between this power of two and the next.
    above = builder.fadd(builder.bitcast(size, FLOAT), FLOAT(2.0**smallest))
    denormal = builder.sub(builder.bitcast(above, INT32), least)
    normal = builder.sub(size, INT32(_bits_of_power(smallest - 1)))
    code = builder.lshr(builder.select(builder.icmp_unsigned("<", size, least), denormal, normal), INT32(23 - digits))
    signed = builder.and_(builder.lshr(bits, INT32(32 - sign.bit_length())), INT32(sign))
    return builder.trunc(builder.or_(code, signed), INT8)


def _bits_of_power(exponent):
    """Return the float32 bits of a power of two."""
    return (127 + exponent) << 23
