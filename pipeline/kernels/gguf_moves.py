"""The search of Q3_K: codes that are moved one after the other, up to five times, where that makes the error less.

The arithmetic follows ``make_q3_quants`` of ggml (llama.cpp 0.5.0), on tiles as in `pipeline.kernels.gguf_search`. Most
runs move nothing; those that do are laid beside each other once more, and none is gone through again for another.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray  # numba reads what the fields are

from pipeline.kernels.compiling import inner
from pipeline.kernels.gguf_search import ZERO, Floats, largest_of
from pipeline.kernels.lanes import (
    LANES,
    absolute,
    clamped,
    copy_one,
    floats,
    larger,
    load,
    nearest_integer,
    smaller,
    splat,
    store,
    where,
)

Places = NDArray[np.int32]

PAIR = 2 * LANES
PASSES = 5
NOT_A_NUMBER = np.float32(np.nan)


class Runs(NamedTuple):
    """Tiles behind each other, with room for five times as many.

    Attributes:
        values: The tiles.
        codes: Their codes.
        products: Of each run the weighted sum of codes times values.
        squares: That of squared codes.
        gains: What is above zero where codes moved.
        numbers: Which run it was at first.
        places: Where the first code of each is in the end, the others following 16 further each.
    """

    values: Floats
    codes: Floats
    products: Floats
    squares: Floats
    gains: Floats
    numbers: Places
    places: Places


@inner
def room_for(tiles: int) -> Runs:
    """Return room for so many tiles of runs of 16 values, and for their passes."""
    values = np.empty((2, PASSES * tiles * 16 * LANES), np.float32)
    sums, places = np.empty((3, PASSES * tiles * LANES), np.float32), np.empty((2, PASSES * tiles * LANES), np.int32)
    return Runs(values[0], values[1], sums[0], sums[1], sums[2], places[0], places[1])


@inner
def fit_by_moves(runs: Runs, tiles: int, run: int, middle: int) -> None:
    """Find codes from ``-middle`` on, and sums, of an even number of tiles; runs of zeros have the least code."""
    for tile in range(tiles):
        begin_moves(runs, tile, run, middle)
    for number in range(tiles * LANES):
        runs.numbers[number], runs.places[number] = number, place_of(number, run)
    first, count = 0, tiles * LANES
    move_all(runs, first, count, run, middle)
    for _ in range(1, PASSES):
        behind = first + in_pairs(count)
        first, count = behind, lay_behind(runs, first, count, behind, run)
        move_all(runs, first, count, run, middle)
        for number in range(first, first + count):
            at_first = runs.numbers[number]
            runs.products[at_first], runs.squares[at_first] = runs.products[number], runs.squares[number]
            runs.places[at_first] = place_of(number, run)


@inner
def move_all(runs: Runs, first: int, count: int, run: int, middle: int) -> None:
    """Go once through a stretch of runs, and what fills its last pair of tiles."""
    for pair in range(first // PAIR, (first + in_pairs(count)) // PAIR):
        move_pair(runs, pair, run, middle)


@inner
def lay_behind(runs: Runs, first: int, count: int, behind: int, run: int) -> int:
    """Lay those runs of a stretch beside each other once more that moved; return how many they are."""
    left = 0
    for number in range(first, first + count):
        if runs.gains[number] > ZERO:
            target = behind + left
            source, goal = place_of(number, run), place_of(target, run)
            for place in range(run):
                copy_one(runs.values, source + place * LANES, goal + place * LANES)
                copy_one(runs.codes, source + place * LANES, goal + place * LANES)
            copy_one(runs.products, number, target)
            copy_one(runs.squares, number, target)
            copy_one(runs.numbers, number, target)
            left += 1
    return left


@inner
def in_pairs(count: int) -> int:
    """Return how many runs the pairs of tiles have that so many need."""
    return -(-count // PAIR) * PAIR


@inner
def place_of(number: int, run: int) -> int:
    """Return where the first value of a run is."""
    return number // LANES * LANES * run + number % LANES


@inner
def begin_moves(runs: Runs, tile: int, run: int, middle: int) -> None:
    """Fill in the first codes of a tile, and the sums."""
    first = tile * run * LANES
    largest, any_large = largest_of(runs.values[first:], run)
    inverse = np.float32(-middle) / largest
    products = squares = splat(ZERO)
    for place in range(run):
        at = first + place * LANES
        value = load(runs.values, at)
        code = floats(clamped(nearest_integer(value * inverse), -middle, middle - 1))
        code = where(any_large, code, splat(np.float32(-middle)))
        store(runs.codes, at, code)
        products, squares = products + value * value * value * code, squares + value * value * code * code
    nothing = splat(NOT_A_NUMBER)  # by which no move of a run of zeros is a gain
    store(runs.products, tile * LANES, where(any_large, products, nothing))
    store(runs.squares, tile * LANES, where(any_large, squares, nothing))


@inner
def move_pair(runs: Runs, pair: int, run: int, middle: int) -> None:
    """Go once through two tiles: each move waits for the one before it, and the other tile's are made meanwhile."""
    first, second = pair * PAIR, pair * PAIR + LANES
    sums, others = sums_of(runs, first), sums_of(runs, second)
    most = more = splat(ZERO)
    for place in range(run):
        gain, sums = move(runs, first * run + place * LANES, sums, middle)
        most = larger(gain, most)
        gain, others = move(runs, second * run + place * LANES, others, middle)
        more = larger(gain, more)
    keep_sums(runs, first, sums, most)
    keep_sums(runs, second, others, more)


@inner
def sums_of(runs: Runs, at: int) -> tuple[Any, Any]:
    """Return the sums of sixteen runs."""
    return load(runs.products, at), load(runs.squares, at)


@inner
def keep_sums(runs: Runs, at: int, sums: tuple[Any, Any], gains: Any) -> None:
    """Keep the sums of sixteen runs, and what moved."""
    store(runs.products, at, sums[0])
    store(runs.squares, at, sums[1])
    store(runs.gains, at, gains)


@inner
def move(runs: Runs, at: int, sums: tuple[Any, Any], middle: int) -> tuple[Any, tuple[Any, Any]]:
    """Move one code of each run where that makes the error less.

    Returns:
        What is above zero where it did, and the sums.
    """
    products, squares = sums
    value, code = load(runs.values, at), load(runs.codes, at)
    weight = value * value
    others, squares_of_others = products - weight * value * code, squares - weight * code * code
    wanted = floats(clamped(nearest_integer(value * squares_of_others / others), -middle, middle - 1))
    new_products = others + weight * value * wanted
    new_squares = squares_of_others + weight * wanted * wanted
    # One comparison of the least instead of four, for what LLVM makes of four truths takes longer. What is not a number
    # comes last and stays.
    gain = new_products * new_products * squares - products * products * new_squares
    change = wanted - code
    gain = smaller(smaller(smaller(others, new_squares), absolute(change)), gain)
    better = gain > ZERO
    # Of a choice between the two codes LLVM makes a store under a mask, which takes ten times as long on some machines.
    store(runs.codes, at, code + where(better, change, splat(ZERO)))
    return gain, (where(better, new_products, products), where(better, new_squares, squares))
