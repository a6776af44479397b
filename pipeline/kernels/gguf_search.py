"""The searches by which ggml finds scales: each tries several and keeps the one with the least error.

The arithmetic follows ``make_qkx2_quants``, ``make_qx_quants`` and ``quantize_row_iq4_nl_impl`` of ggml (llama.cpp
0.5.0) without an importance matrix. Its sums go over a run of 16 or 32 values, one after the other; here sixteen runs
lie beside each other, one a lane. A tile has the first value of each run, then the second of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.compiling import inner
from pipeline.kernels.lanes import (
    LANES,
    absolute,
    clamped,
    floats,
    load,
    nearest_integer,
    root,
    splat,
    store,
    transpose,
    where,
)

Floats = NDArray[np.float32]

ZERO, ONE, TENTH = np.float32(0), np.float32(1), np.float32(0.1)
LEAST = np.float32(1e-15)  # runs of nothing larger are zeros
LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
BOUNDS = np.append(np.float32(-np.inf), (LEVELS[:-1] + LEVELS[1:]) / np.float32(2))  # where each of them begins


@inner
def length_of(run: int, values: Floats) -> int:
    """Return the length of a run in a way that the compiler does not see, where it is the same for all blocks.

    Else it would write down the steps of a search one after the other, and take minutes for it.
    """
    return min(run, values.size)


@inner
def lay_beside(values: Floats, run: int, tile: Floats) -> None:
    """Lay sixteen runs of values beside each other, as many as there are; what is missing is zeros."""
    if values.size >= run * LANES:
        for part in range(run // LANES):
            transpose(values, part * LANES, run, tile[part * LANES * LANES :])
        return
    for lane in range(LANES):
        for place in range(run):
            inside = lane * run + place < values.size
            tile[place * LANES + lane] = values[lane * run + place] if inside else ZERO


@inner
def weigh(tile: Floats, run: int, rooted: bool, weights: Floats) -> None:
    """Find what errors count: as much as the value, and as the root of its run's mean square where that is said."""
    mean = splat(ZERO)
    if rooted:
        for place in range(run):
            value = load(tile, place * LANES)
            mean = mean + value * value
        mean = root(mean / np.float32(run))
    for place in range(run):
        store(weights, place * LANES, mean + absolute(load(tile, place * LANES)))


@inner
def fit_steps(
    tile: Floats, weights: Floats, codes: Floats, run: int, tries: tuple[int, np.float32, int], absolutely: bool
) -> tuple[Any, Any, Any, Any]:
    """Find the steps and the minimum that runs are coded by.

    Args:
        tile: The runs.
        weights: What errors count.
        codes: Room for a tile.
        run: How many values a run has.
        tries: The largest code, what the first try adds to it, and how many tries there are.
        absolutely: Whether errors are not squared.

    Returns:
        Scales; minima; and what makes the codes of the best try, which are ``(value - base) * inverse``: the inverses
        and the bases.
    """
    top, begin, count = tries
    low = load(tile, 0)
    high, weight = low, load(weights, 0)
    moment = weight * low
    for place in range(1, run):
        value, more = load(tile, place * LANES), load(weights, place * LANES)
        low, high = where(value < low, value, low), where(value > high, value, high)
        weight, moment = weight + more, moment + more * value
    low = where(low > ZERO, splat(ZERO), low)
    flat = high == low
    inverse, base = np.float32(top) / (high - low), low
    scale = ONE / inverse
    for place in range(run):
        code = clamped(nearest_integer((load(tile, place * LANES) - low) * inverse), 0, top)
        store(codes, place * LANES, floats(code))
    least = error_of(tile, weights, codes, run, (scale, low), absolutely)
    for number in range(count + 1):
        tried = (begin + TENTH * np.float32(number) + np.float32(top)) / (high - low)
        sum_codes = sum_squares = sum_products = splat(ZERO)
        for place in range(run):
            value = load(tile, place * LANES)
            code = floats(clamped(nearest_integer((value - low) * tried), 0, top))
            store(codes, place * LANES, code)
            weighted = load(weights, place * LANES) * code
            sum_codes = sum_codes + weighted
            sum_squares = sum_squares + weighted * code
            sum_products = sum_products + weighted * value
        determinant = weight * sum_squares - sum_codes * sum_codes
        step = (weight * sum_products - moment * sum_codes) / determinant
        bottom = (sum_squares * moment - sum_codes * sum_products) / determinant
        above = bottom > ZERO
        bottom = where(above, splat(ZERO), bottom)
        step = where(above, sum_products / sum_squares, step)
        error = error_of(tile, weights, codes, run, (step, bottom), absolutely)
        better = (determinant > ZERO) & (error < least)
        least, scale = where(better, error, least), where(better, step, scale)
        inverse, base = where(better, tried, inverse), where(better, low, base)
        low = where(better, bottom, low)  # from which the next tries go on
    nothing = splat(ZERO)
    return where(flat, nothing, scale), low, where(flat, nothing, inverse), where(flat, nothing, base)


@inner
def error_of(tile: Floats, weights: Floats, codes: Floats, run: int, line: tuple[Any, Any], absolutely: bool) -> Any:
    """Return the weighted errors of runs that are decoded by scales and minima."""
    scale, low = line
    total = splat(ZERO)
    for place in range(run):
        error = scale * load(codes, place * LANES) + low - load(tile, place * LANES)
        size = absolute(error) if absolutely else error * error
        total = total + load(weights, place * LANES) * size
    return total


@inner
def largest_of(tile: Floats, run: int) -> tuple[Any, Any]:
    """Return the values of runs that are largest without their signs, the first of several; and whether any is."""
    size, largest = splat(ZERO), splat(ZERO)
    for place in range(run):
        value = load(tile, place * LANES)
        larger = absolute(value) > size
        size, largest = where(larger, absolute(value), size), where(larger, value, largest)
    return largest, size >= LEAST


@inner
def fit_scale(tile: Floats, weights: Floats, run: int, middle: int) -> tuple[Any, Any]:
    """Find the scale that runs are coded by, the largest value near the code ``-middle``.

    Args:
        tile: The runs.
        weights: Room for two tiles.
        run: How many values a run has.
        middle: How many codes are negative, and one more than are positive.

    Returns:
        Scales, and by what values are multiplied to have the codes of the best try; both 0 where nothing is large.
    """
    largest, any_large = largest_of(tile, run)
    for place in range(run):
        value = load(tile, place * LANES)
        store(weights, place * LANES, value * value)
        store(weights, (run + place) * LANES, value * value * value)
    inverse = np.float32(-middle) / largest
    products, squares = moments_of(tile, weights, run, middle, inverse)
    scale = where(squares == ZERO, splat(ZERO), products / squares)
    best = scale * products
    for number in range(-9, 10):
        if number == 0:
            continue
        tried = -(np.float32(middle) + TENTH * np.float32(number)) / largest
        products, squares = moments_of(tile, weights, run, middle, tried)
        better = (squares > ZERO) & (products * products > best * squares)
        scale = where(better, products / squares, scale)
        best = where(better, scale * products, best)
        inverse = where(better, tried, inverse)
    nothing = splat(ZERO)
    return where(any_large, scale, nothing), where(any_large, inverse, nothing)


@inner
def moments_of(tile: Floats, weights: Floats, run: int, middle: int, inverse: Any) -> tuple[Any, Any]:
    """Return the weighted sums of codes times values, and of squared codes."""
    products = squares = splat(ZERO)
    for place in range(run):
        code = floats(clamped(nearest_integer(load(tile, place * LANES) * inverse), -middle, middle - 1))
        products = products + load(weights, (run + place) * LANES) * code
        squares = squares + load(weights, place * LANES) * code * code
    return products, squares


@inner
def fit_levels(tile: Floats, run: int) -> Any:
    """Find scales by which the levels of IQ4_NL come near runs; 0 where nothing is large."""
    largest, any_large = largest_of(tile, run)
    products, squares = moments_of_levels(tile, run, ONE / ((splat(ZERO) - largest) / LEVELS[0]))
    scale = products / squares
    best = scale * products
    for number in range(-7, 8):
        products, squares = moments_of_levels(tile, run, (np.float32(number) + LEVELS[0]) / largest)
        better = (squares > ZERO) & (products * products > best * squares)
        scale = where(better, products / squares, scale)
        best = where(better, scale * products, best)
    return where(any_large, scale, splat(ZERO))


@inner
def moments_of_levels(tile: Floats, run: int, inverse: Any) -> tuple[Any, Any]:
    """Return the weighted sums of the nearest levels times values, and of squared levels."""
    products = squares = splat(ZERO)
    for place in range(run):
        value = load(tile, place * LANES)
        level, _ = nearest_levels(value * inverse)
        weighted = value * value * level
        products, squares = products + weighted * value, squares + weighted * level
    return products, squares


@inner
def nearest_levels(scaled: Any) -> tuple[Any, Any]:
    """Return the nearest levels of IQ4_NL, the higher one of two, and their codes."""
    level, code = splat(LEVELS[0]), splat(0)
    for number in range(1, LEVELS.size):
        below = scaled < BOUNDS[number]
        level, code = where(below, level, splat(LEVELS[number])), code + where(below, splat(0), splat(1))
    return level, code
