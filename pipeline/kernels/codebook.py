"""The nearest of 16 levels for the 64 values of a block: a binary search in vector registers.

Four comparisons a value instead of fifteen. A table of 16 float32 fits one AVX-512 register, and a lookup of 16
indices in it is one instruction; compilers do not find it in a loop, so it is written here as LLVM's own vectors.
Machines without such an instruction run the same code as scalar loads.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# ruff: noqa: ARG001

from __future__ import annotations

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

LANES = 16
BLOCK = 64
DOUBLE, FLOAT, BYTE, INT32, INT64 = ir.DoubleType(), ir.FloatType(), ir.IntType(8), ir.IntType(32), ir.IntType(64)
FUSED = ["contract"]


@intrinsic
def search_block(typing, scaled, tables, symbols, shrink, weight, block, codes, moments, sums):  # noqa: PLR0913, PLR0917
    """Encode 64 scaled values into 32 bytes, and add the squares of their errors and of themselves to sums.

    Args:
        typing: numba's typing context.
        scaled: float32[64], the values in units of ``weight``.
        tables: float32[32]: 16 bounds, where one level ends and the next begins, the last one not looked at, and
            the 16 levels; both ascending. A value on a bound belongs below it.
        symbols: uint64, the code of each level, four bits each, that of the lowest level in the lowest bits.
        shrink: float32, what levels are multiplied with to be in units of ``weight``: 1 save for denormal blocks.
        weight: float64, the squared unit.
        block: Which block of the next two it is.
        codes: uint8, the result, two codes a byte, the first one in the high bits.
        moments: float32, or None; the result, two for each block: the sum of errors times levels, and that of squared
            levels, which tell the error that another absmax would make.
        sums: float64[16]; eight partial sums of squared errors, then eight of squared values.
    """
    arguments = (scaled, tables, types.uint64, types.float32, types.float64, types.intp, codes, moments, sums)

    def emit(context, builder, signature, values):
        arrays = {
            place: context.make_array(kind)(context, builder, values[place]).data
            for place, kind in enumerate(signature.args)
            if isinstance(kind, types.Array)
        }
        _Search(builder, arrays, symbols=values[2], shrink=values[3], weight=values[4], block=values[5]).emit()
        return context.get_dummy_value()

    return types.none(*arguments), emit


class _Search:
    """The instructions of one block."""

    def __init__(self, builder, arrays, symbols, shrink, weight, block):
        self.builder = builder
        self.scaled, self.block, self.codes, self.moments, self.sums = (
            arrays[0],
            block,
            arrays[6],
            arrays.get(7),
            arrays[8],
        )
        bounds = self.load(arrays[1], INT64(0), FLOAT)
        # The table for a step of 4 has at each index the bound that lies 3 further, and so on: no addition to look up.
        self.tables = {step: self.shifted(bounds, step - 1) for step in (8, 4, 2, 1)}
        self.levels = self.load(arrays[1], INT64(LANES), FLOAT)
        self.symbols = self.splat(symbols, LANES // 2)
        self.shrink = self.splat(shrink)
        self.weight = self.splat(weight, 8)

    def emit(self):
        noise = signal = mixed = power = constant(FLOAT, 0.0)
        for part in range(BLOCK // LANES):
            values = self.load(self.scaled, INT64(part * LANES), FLOAT)
            index = self.nearest_level(values)
            self.store_codes(index, part)
            level = self.builder.fmul(self.look_up(self.levels, index), self.shrink, flags=FUSED)
            error = self.builder.fsub(values, level, flags=FUSED)
            noise = self.add_product(noise, error, error)
            signal = self.add_product(signal, values, values)
            mixed = self.add_product(mixed, error, level)
            power = self.add_product(power, level, level)
        self.add_weighted(0, noise)
        self.add_weighted(8, signal)
        if self.moments is not None:
            self.store_moments(mixed, power)

    def nearest_level(self, values):
        """Count the bounds that lie below each value, in four halvings."""
        index = constant(INT32, 0)
        for step, table in self.tables.items():
            above = self.builder.fcmp_ordered(">", values, self.look_up(table, index))
            index = self.builder.select(above, self.builder.add(index, constant(INT32, step)), index)
        return index

    def store_codes(self, index, part):
        """Store the codes of 16 levels in eight bytes."""
        builder, lanes = self.builder, LANES // 2
        # Two indices to a lane of 64 bits, the first one in its low half; each as the place of a code in the symbols.
        pairs = builder.bitcast(index, ir.VectorType(INT64, lanes))
        first = builder.and_(builder.shl(pairs, constant(INT64, 2, lanes)), constant(INT64, 60, lanes))
        second = builder.and_(builder.lshr(pairs, constant(INT64, 30, lanes)), constant(INT64, 60, lanes))
        high = builder.shl(builder.lshr(self.symbols, first), constant(INT64, 4, lanes))
        low = builder.and_(builder.lshr(self.symbols, second), constant(INT64, 15, lanes))
        packed = builder.trunc(builder.or_(high, low), ir.VectorType(BYTE, lanes))
        place = builder.add(builder.mul(self.block, INT64(BLOCK // 2)), INT64(part * lanes))
        self.store(self.codes, place, packed)

    def add_product(self, total, one, other):
        return self.builder.fadd(total, self.builder.fmul(one, other, flags=FUSED), flags=FUSED)

    def store_moments(self, mixed, power):
        """Sum 16 lanes of each to one, both in the same register."""
        halves = [
            self.builder.fadd(self.shifted(vector, 0, 8), self.shifted(vector, 8, 8)) for vector in (mixed, power)
        ]
        for lanes in (8, 4, 2):  # of which the second half is added to the first
            places = [[*range(lanes // 2), *range(lanes, lanes + lanes // 2)]]
            places.append([place + lanes // 2 for place in places[0]])
            low, high = (self.shuffled(halves[0], halves[1], chosen) for chosen in places)
            both = self.builder.fadd(low, high)
            halves = [self.shuffled(both, both, range(at, at + lanes // 2)) for at in (0, lanes // 2)]
        self.store(self.moments, self.builder.mul(self.block, INT64(2)), self.shuffled(halves[0], halves[1], range(2)))

    def add_weighted(self, place, squares):
        """Add 16 float32 sums to 8 float64 ones, in units of the weight."""
        builder = self.builder
        half = builder.fadd(self.shifted(squares, 0, 8), self.shifted(squares, 8, 8))
        wide = builder.fmul(builder.fpext(half, ir.VectorType(DOUBLE, 8)), self.weight, flags=FUSED)
        total = self.load(self.sums, INT64(place), DOUBLE, 8)
        self.store(self.sums, INT64(place), builder.fadd(total, wide, flags=FUSED))

    def look_up(self, table, index):
        """Take from a register the elements that 16 indices name; LLVM makes one instruction of these extractions."""
        found = ir.Constant(table.type, ir.Undefined)
        for lane in range(LANES):
            at = self.builder.extract_element(index, INT32(lane))
            found = self.builder.insert_element(found, self.builder.extract_element(table, at), INT32(lane))
        return found

    def shifted(self, vector, by, lanes=LANES):
        """Return the elements from one on; those past the end are never looked at."""
        return self.shuffled(vector, vector, [min(by + lane, LANES - 1) for lane in range(lanes)])

    def shuffled(self, one, other, places):
        """Return the elements of two vectors at places, which count on from the first to the second."""
        return self.builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(INT32, len(places)), list(places)))

    def splat(self, scalar, lanes=LANES):
        one = self.builder.insert_element(
            ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined), scalar, INT32(0)
        )
        return self.builder.shuffle_vector(one, one, constant(INT32, 0, lanes))

    def load(self, pointer, place, kind, lanes=LANES):
        address = self.builder.gep(pointer, [place])
        loaded = self.builder.load(self.builder.bitcast(address, ir.VectorType(kind, lanes).as_pointer()))
        loaded.align = 4
        return loaded

    def store(self, pointer, place, vector):
        address = self.builder.gep(pointer, [place])
        self.builder.store(vector, self.builder.bitcast(address, vector.type.as_pointer()), align=1)


def constant(kind, value, lanes=LANES):
    """Return a vector of one value."""
    return ir.Constant(ir.VectorType(kind, lanes), [value] * lanes)
