"""Sixteen numbers beside each other, on which kernels compute as if they were one.

What an oracle adds up one after the other, no compiler may add in another order. But sixteen blocks have sixteen such
sums, and lanes add to them all at once, each in the oracle's order. They are LLVM's own vectors: one register or as
many as the machine needs, and never memory. All arithmetic is IEEE's, lane by lane.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,misc,untyped-decorator"
# ruff: noqa: ARG001

from __future__ import annotations

import operator
from typing import Final

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES: Final = 16
HALF, FLOAT, DOUBLE = ir.HalfType(), ir.FloatType(), ir.DoubleType()
BIT, BYTE, INT16, INT32 = (ir.IntType(bits) for bits in (1, 8, 16, 32))
ELEMENTS: Final = {types.float32: FLOAT, types.int32: INT32, types.boolean: BIT}


class Lanes(types.Type):
    """numba's type of sixteen float32, int32 or truth values."""

    def __init__(self, element) -> None:
        self.element = element
        super().__init__(f"Lanes({element})")


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind) -> None:
        super().__init__(manager, kind, vector(ELEMENTS[kind.element]))


FLOATS, INTS, MASK = Lanes(types.float32), Lanes(types.int32), Lanes(types.boolean)


def vector(element, lanes=LANES):
    """Return LLVM's type of so many elements."""
    return ir.VectorType(element, lanes)


def constant(element, value, lanes=LANES):
    """Return a value in every lane."""
    return ir.Constant(vector(element, lanes), [value] * lanes)


def spread(context, builder, value, kind, wanted):
    """Emit a value in every lane, unless it is lanes already."""
    if isinstance(kind, Lanes):
        return value
    scalar = context.cast(builder, value, kind, wanted.element)
    one = builder.insert_element(ir.Constant(vector(scalar.type), ir.Undefined), scalar, INT32(0))
    return builder.shuffle_vector(one, one, constant(INT32, 0))


def _operator(function, emits, truth=False):
    """Let an operator of Python work on lanes, and on lanes and a number."""

    def typed(context):
        def typer(left, right):
            lanes = left if isinstance(left, Lanes) else right
            if not isinstance(lanes, Lanes) or lanes.element not in emits:
                return None
            if any(isinstance(side, Lanes) and side is not lanes for side in (left, right)):
                return None
            return MASK if truth else lanes

        return typer

    def lowered(context, builder, signature, arguments):
        wanted = next(kind for kind in signature.args if isinstance(kind, Lanes))
        sides = [spread(context, builder, *side, wanted) for side in zip(arguments, signature.args, strict=True)]
        return emits[wanted.element](builder, *sides)

    type_callable(function)(typed)
    for left, right in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(function, left, right)(lowered)


def _compared(sign):
    return {
        types.float32: lambda builder, left, right: (builder.fcmp_unordered if sign == "!=" else builder.fcmp_ordered)(
            sign, left, right
        ),
        types.int32: lambda builder, left, right: builder.icmp_signed(sign, left, right),
    }


_operator(operator.add, {types.float32: ir.IRBuilder.fadd, types.int32: ir.IRBuilder.add})
_operator(operator.sub, {types.float32: ir.IRBuilder.fsub, types.int32: ir.IRBuilder.sub})
_operator(operator.mul, {types.float32: ir.IRBuilder.fmul, types.int32: ir.IRBuilder.mul})
_operator(operator.truediv, {types.float32: ir.IRBuilder.fdiv})
_operator(operator.and_, {types.int32: ir.IRBuilder.and_, types.boolean: ir.IRBuilder.and_})
_operator(operator.or_, {types.int32: ir.IRBuilder.or_, types.boolean: ir.IRBuilder.or_})
_operator(operator.lshift, {types.int32: ir.IRBuilder.shl})
_operator(operator.rshift, {types.int32: ir.IRBuilder.ashr})
for _function, _sign in (
    (operator.lt, "<"),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _operator(_function, _compared(_sign), truth=True)


@intrinsic
def splat(typing, value):
    """Return a float32 in every lane, or an integer."""
    lanes = INTS if isinstance(value, types.Integer) else FLOATS

    def emit(context, builder, signature, arguments):
        return spread(context, builder, arguments[0], signature.args[0], lanes)

    return lanes(types.intp if lanes is INTS else types.float32), emit


@intrinsic
def load(typing, array, place):
    """Return sixteen float32 or int32 of an array, from a place on; or sixteen bytes, as integers."""
    stored, lanes = STORED[array.dtype]

    def emit(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], arguments, vector(stored))
        found = builder.load(pointer, align=signature.args[0].dtype.bitwidth // 8)
        extended = builder.sext if signature.args[0].dtype == types.int8 else builder.zext
        return extended(found, vector(INT32)) if stored is BYTE else found

    return lanes(array, types.intp), emit


@intrinsic
def store(typing, array, place, lanes):
    """Write sixteen float32 or int32 into an array, from a place on; or, of integers into bytes, the low one."""
    stored, _ = STORED[array.dtype]

    def emit(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], arguments, vector(stored))
        value = builder.trunc(arguments[2], vector(BYTE)) if stored is BYTE else arguments[2]
        builder.store(value, pointer, align=signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, types.intp, STORED[array.dtype][1]), emit


@intrinsic
def copy_one(typing, array, place, target):
    """Copy the element of an array at a place to another one; neither is negative."""

    def emit(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        builder.store(builder.load(builder.gep(data, [arguments[1]])), builder.gep(data, [arguments[2]]))
        return context.get_dummy_value()

    return types.none(array, types.intp, types.intp), emit


@intrinsic
def transpose(typing, rows, place, distance, columns):
    """Write sixteen rows of sixteen float32, which begin from a place on at a distance, as columns into an array."""

    def emit(context, builder, signature, arguments):
        whole, kinds = vector(FLOAT), signature.args
        lines = []
        for number in range(LANES):
            first = builder.add(arguments[1], builder.mul(arguments[2], ir.Constant(arguments[2].type, number)))
            pointer = _pointer(context, builder, kinds[0], (arguments[0], first), whole)
            lines.append(builder.load(pointer, align=4))
        for step in (8, 4, 2, 1):  # squares of so many swap the two that lie beside their diagonal
            for one in (number for number in range(LANES) if not number & step):
                pair = lines[one], lines[one + step]
                low = [LANES + lane - step if lane & step else lane for lane in range(LANES)]
                high = [LANES + lane if lane & step else lane + step for lane in range(LANES)]
                for number, places in ((one, low), (one + step, high)):
                    lines[number] = builder.shuffle_vector(*pair, ir.Constant(vector(INT32), places))
        for number, line in enumerate(lines):
            first = ir.Constant(arguments[1].type, number * LANES)
            builder.store(line, _pointer(context, builder, kinds[3], (arguments[3], first), whole), align=4)
        return context.get_dummy_value()

    return types.none(rows, types.intp, types.intp, columns), emit


@intrinsic
def load_bits(typing, array, place):
    """Return sixteen truth values of two bytes of an array, the first one in the lowest bit."""

    def emit(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], arguments, INT16)
        return builder.bitcast(builder.load(pointer, align=1), vector(BIT))

    return MASK(array, types.intp), emit


@intrinsic
def store_bits(typing, array, place, mask):
    """Write sixteen truth values into two bytes of an array, the first one into the lowest bit."""

    def emit(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], arguments, INT16)
        builder.store(builder.bitcast(arguments[2], INT16), pointer, align=1)
        return context.get_dummy_value()

    return types.none(types.Array(types.uint8, 1, "C"), types.intp, MASK), emit


@intrinsic
def load_half(typing, array, place):
    """Return the float16 that two bytes of an array are."""

    def emit(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], arguments, HALF)
        return builder.fpext(builder.load(pointer, align=1), FLOAT)

    return types.float32(array, types.intp), emit


@intrinsic
def store_half(typing, array, place, value):
    """Write a float32 into two bytes of an array as a float16, and return what it is then."""

    def emit(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], arguments, HALF)
        rounded = builder.fptrunc(arguments[2], HALF)
        builder.store(rounded, pointer, align=1)
        return builder.fpext(rounded, FLOAT)

    return types.float32(types.Array(types.uint8, 1, "C"), types.intp, types.float32), emit


@intrinsic
def look_up(typing, table, places):
    """Return the elements of a table of float32 at places."""

    def emit(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        found = ir.Constant(vector(FLOAT), ir.Undefined)
        for lane in range(LANES):
            place = builder.extract_element(arguments[1], INT32(lane))
            found = builder.insert_element(found, builder.load(builder.gep(data, [place])), INT32(lane))
        return found

    return FLOATS(table, INTS), emit


@intrinsic
def where(typing, mask, one, other):
    """Return the lanes of one where the mask is true, those of another elsewhere."""

    def emit(context, builder, signature, arguments):
        return builder.select(*arguments)

    return one(MASK, one, one), emit


@intrinsic
def smaller(typing, one, other):
    """Return the smaller of each two float32; the other one where any is not a number."""
    return FLOATS(FLOATS, FLOATS), _chosen("<")


@intrinsic
def larger(typing, one, other):
    """Return the larger of each two float32; the other one where any is not a number."""
    return FLOATS(FLOATS, FLOATS), _chosen(">")


def _chosen(sign):
    def emit(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered(sign, *arguments), *arguments)

    return emit


@intrinsic
def any_of(typing, mask):
    """Return whether a lane is true."""

    def emit(context, builder, signature, arguments):
        return builder.icmp_unsigned("!=", builder.bitcast(arguments[0], INT16), INT16(0))

    return types.boolean(MASK), emit


@intrinsic
def floats(typing, integers):
    """Return integers as float32."""

    def emit(context, builder, signature, arguments):
        return builder.sitofp(arguments[0], vector(FLOAT))

    return FLOATS(INTS), emit


@intrinsic
def truncated(typing, lanes):
    """Return float32 that fit an integer without what comes after the point."""

    def emit(context, builder, signature, arguments):
        return builder.fptosi(arguments[0], vector(INT32))

    return INTS(FLOATS), emit


@intrinsic
def absolute(typing, lanes):
    """Return float32 without their signs."""

    def emit(context, builder, signature, arguments):
        bits = builder.bitcast(arguments[0], vector(INT32))
        return builder.bitcast(builder.and_(bits, constant(INT32, 0x7FFFFFFF)), vector(FLOAT))

    return FLOATS(FLOATS), emit


@intrinsic
def root(typing, lanes):
    """Return square roots."""

    def emit(context, builder, signature, arguments):
        name, kind = f"llvm.sqrt.v{LANES}f32", vector(FLOAT)
        return builder.call(builder.module.declare_intrinsic(name, fnty=ir.FunctionType(kind, [kind])), arguments)

    return FLOATS(FLOATS), emit


@intrinsic
def away_from_zero(typing, lanes):
    """Return float32 of less than 2**23 rounded to integers, halves away from zero, as C's ``roundf``."""

    def emit(context, builder, signature, arguments):
        bits = builder.bitcast(arguments[0], vector(INT32))
        sign = builder.and_(bits, constant(INT32, -0x80000000))
        # The float32 before a half: with a half itself, the value before one half would become one.
        half = builder.bitcast(builder.or_(sign, constant(INT32, 0x3EFFFFFF)), vector(FLOAT))
        return builder.fptosi(builder.fadd(arguments[0], half), vector(INT32))

    return INTS(FLOATS), emit


@intrinsic
def nearest_integer(typing, lanes):
    """Return float32 rounded to integers, halves to even, as ggml's ``nearest_int``.

    What is larger than 2**22, infinite or not a number comes out as something else, the same as there.
    """

    def emit(context, builder, signature, arguments):
        moved = builder.fadd(arguments[0], constant(FLOAT, 1.5 * 2**23))
        kept = builder.and_(builder.bitcast(moved, vector(INT32)), constant(INT32, 0x7FFFFF))
        return builder.sub(kept, constant(INT32, 0x400000))

    return INTS(FLOATS), emit


@intrinsic
def clamped(typing, integers, lowest, highest):
    """Return integers that are no smaller and no larger than two others."""

    def emit(context, builder, signature, arguments):
        value = arguments[0]
        for sign, bound in (("<", arguments[2]), (">", arguments[1])):
            limit = spread(context, builder, bound, types.intp, INTS)
            value = builder.select(builder.icmp_signed(sign, value, limit), value, limit)
        return value

    return INTS(INTS, types.intp, types.intp), emit


@intrinsic
def lowest(typing, lanes):
    """Return the smallest of the lanes; of zeros of both signs, either."""
    return types.float32(FLOATS), _reduced("<")


@intrinsic
def highest(typing, lanes):
    """Return the largest of the lanes; of zeros of both signs, either."""
    return types.float32(FLOATS), _reduced(">")


def _reduced(sign):
    def emit(context, builder, signature, arguments):
        value, left = arguments[0], LANES
        while left > 1:
            left //= 2
            halves = [_part(builder, value, at, left) for at in (0, left)]
            value = builder.select(builder.fcmp_ordered(sign, *halves), *halves)
        return builder.extract_element(value, INT32(0))

    return emit


@intrinsic
def add_weighted(typing, sums, one, other, weight):
    """Add lanes, each times a weight, to four float64 of an array, and others to the next four, in whatever order."""

    def emit(context, builder, signature, arguments):
        quarters = []
        for lanes in arguments[1:3]:
            half = builder.fadd(*(_part(builder, lanes, at, LANES // 2) for at in (0, LANES // 2)))
            quarters.append(builder.fadd(*(_part(builder, half, at, LANES // 4) for at in (0, LANES // 4))))
        both = builder.shuffle_vector(*quarters, ir.Constant(vector(INT32, 8), list(range(8))))
        wide = builder.fpext(both, vector(DOUBLE, 8))
        first = builder.insert_element(ir.Constant(wide.type, ir.Undefined), arguments[3], INT32(0))
        weights = builder.shuffle_vector(first, first, constant(INT32, 0, 8))
        pointer = _pointer(
            context, builder, signature.args[0], (arguments[0], ir.Constant(ir.IntType(64), 0)), wide.type
        )
        total = builder.fadd(builder.load(pointer, align=8), builder.fmul(wide, weights))
        builder.store(total, pointer, align=8)
        return context.get_dummy_value()

    return types.none(sums, FLOATS, FLOATS, types.float64), emit


STORED: Final = {
    types.float32: (FLOAT, FLOATS),
    types.int32: (INT32, INTS),
    types.uint8: (BYTE, INTS),
    types.int8: (BYTE, INTS),
}


def _pointer(context, builder, kind, arguments, wanted):
    """Emit the address of a place in an array, as that of what is wanted there."""
    data = context.make_array(kind)(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]]), wanted.as_pointer())


def _part(builder, value, first, size):
    return builder.shuffle_vector(value, value, ir.Constant(vector(INT32, size), list(range(first, first + size))))
