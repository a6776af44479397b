"""Weights that try a packing: of every magnitude, on the bounds between codes, with zeros of both signs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.kernels.levels import codebook

Floats = NDArray[np.float64]
Make = Callable[[np.random.Generator, int], Floats]

LARGEST = {"bfloat16": 3.3895313892515355e38, "float16": 65504.0, "float32": 3.4028234663852886e38}
SMALLEST = {"bfloat16": 2.0**-133, "float16": 2.0**-24, "float32": 2.0**-149}
BITS = {"bfloat16": torch.int16, "float16": torch.int16, "float32": torch.int32}


def steps(count: float) -> Make:
    """Return a maker of multiples of half a step, the largest of them always among them."""

    def make(random: np.random.Generator, size: int) -> Floats:
        values = random.integers(-2 * count, 2 * count, size, endpoint=True) / 2
        values[random.integers(size)] = count
        return values

    return make


def on_bounds(scheme: str) -> Make:
    """Return a maker of values on the bounds between the levels of bitsandbytes, and one."""

    def make(random: np.random.Generator, size: int) -> Floats:
        values = random.choice(np.append(codebook(scheme).tables[:15], np.float32(1)), size).astype(np.float64)
        values[random.integers(size)] = 1
        return values

    return make


MAKERS: dict[str, Make] = {
    "normal": lambda random, size: random.standard_normal(size),
    "zeros": lambda _, size: np.zeros(size),
    "signed zeros": lambda random, size: np.where(random.random(size) < 0.5, 0.0, -0.0),
    "sparse": lambda random, size: np.abs(random.standard_normal(size)) * random.integers(0, 2, size)
    * np.where(random.random(size) < 0.5, 1, -0.0),
    "constant": lambda random, size: np.full(size, random.standard_normal()),
    "positive": lambda random, size: random.random(size) * random.integers(0, 2, size),
    "far from zero": lambda random, size: 100 + random.random(size),
    "any exponent": lambda random, size: random.standard_normal(size) * 2.0 ** random.integers(-20, 0, size),
    "int8 ties": steps(127),
    "int8 odd ties": steps(127.5),
    "int4 ties": steps(15),
    "int2 ties": steps(3),
    "float8 ties": lambda random, size: random.choice([-1, 1], size)
    * (1 + random.integers(0, 16, size) / 16) * 2.0 ** random.integers(-10, 9, size),
    "float4 ties": lambda random, size: random.choice([-1, 1], size)
    * np.append(random.choice([0, 0.25, 0.5, 0.75, 1.25, 1.75, 2.5, 3.5, 5], size - 1), 6),
    "nf4 ties": on_bounds("nf4"),
    "fp4 ties": on_bounds("fp4"),
}  # fmt: skip


def scaled(values: Floats, scale: str, dtype: str) -> Floats:
    """Return values in a magnitude of a dtype."""
    span = np.abs(values).max() or 1.0
    factors = {"one": 1.0, "small": 1e-6, "large": LARGEST[dtype] / span, "tiny": SMALLEST[dtype] * 50 / span,
               "least": SMALLEST[dtype] * 3 / span, "normal": 0.02}  # fmt: skip
    return values * factors[scale]


@st.composite
def weights(draw: st.DrawFn, dtype: str, columns: st.SearchStrategy[int]) -> torch.Tensor:
    """Draw a matrix whose rows have each their own makers and magnitudes, or all bits at random."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, width = draw(st.integers(1, 40)), draw(columns)
    if draw(st.integers(0, 9)) == 0:
        return any_bits(random, dtype, rows, width)
    names = draw(st.lists(st.sampled_from(sorted(MAKERS)), min_size=1, max_size=4))
    magnitudes = draw(st.lists(st.sampled_from(["one", "small", "large", "tiny", "least", "normal"]), min_size=1))
    matrix = np.empty((rows, width))
    for row in matrix:
        middle = int(random.integers(width + 1))
        for part in (row[:middle], row[middle:]):
            if part.size:
                part[:] = scaled(MAKERS[random.choice(names)](random, part.size), random.choice(magnitudes), dtype)
    limit = LARGEST[dtype]
    return torch.from_numpy(matrix.clip(-limit, limit)).to(torch.float32).clamp(-limit, limit).to(getattr(torch, dtype))


def any_bits(random: np.random.Generator, dtype: str, rows: int, columns: int) -> torch.Tensor:
    """Return a matrix of any finite values a dtype has."""
    width = 16 if BITS[dtype] == torch.int16 else 32
    bits = random.integers(-(2 ** (width - 1)), 2 ** (width - 1), (rows, columns))
    weight = torch.from_numpy(bits).to(BITS[dtype]).view(getattr(torch, dtype))
    return torch.where(weight.isfinite(), weight, torch.zeros_like(weight))
