"""GGUF's blocks have the bytes that ggml gives them, on every finite input, and stand for what it reads from them."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from packing import ggml
from packing.cases import as_values
from packing.weights import any_bits, weights

from pipeline.kernels.ggml import TYPES
from pipeline.kernels.gguf import CHUNK, PACKED, decode, encode

Floats = NDArray[np.float32]
BLOCK = 256  # the largest one; whole numbers of it are whole numbers of all
IN_PYTHON = ("BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")  # what gguf-py packs, too
each_type = pytest.mark.parametrize("name", PACKED)
each_dtype = pytest.mark.parametrize(
    "dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.nightly), "float32"]
)


def wide(values: NDArray[np.generic]) -> Floats:
    """Return values as converters give them to ggml."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def sample(random: np.random.Generator, count: int) -> Floats:
    """Return values of which each run of 16 has its own make and magnitude, and each block one more magnitude."""
    runs = count // 16
    shapes = [
        random.standard_normal((runs, 16)),
        random.integers(-64, 65, (runs, 16)) / 2,
        random.integers(-31, 32, (runs, 16)) / 2,
        random.standard_normal((runs, 16)) * random.integers(0, 2, (runs, 16)),
        np.where(random.random((runs, 16)) < 0.5, 0.0, -0.0),
        np.repeat(random.standard_normal((runs, 1)), 16, axis=1),
        100 + random.random((runs, 16)),
        np.where(random.random((runs, 16)) < 0.5, -1, 1) * random.random((runs, 1)),
    ]
    values = np.choose(random.integers(0, len(shapes), (runs, 1)), shapes)
    values *= np.where(random.random((runs, 1)) < 0.5, 1, 2.0 ** random.integers(-8, 8, (runs, 1)))
    blocks = values.reshape(-1, BLOCK)
    blocks *= np.where(random.random((len(blocks), 1)) < 0.5, 1, 2.0 ** random.integers(-149, 120, (len(blocks), 1)))
    largest = np.finfo(np.float32).max
    return blocks.reshape(-1).clip(-largest, largest).astype(np.float32)


def test_a_header_s_types_are_ggml_s() -> None:
    assert {kind.number: (name, kind.block, kind.size) for name, kind in TYPES.items()} == ggml.types()


def assert_equal(name: str, values: Floats, blocks: NDArray[np.uint8]) -> None:
    """Compare with ggml's blocks, and name the first that differs with its values."""
    kind, wanted = TYPES[name], ggml.quantize(name, values)
    differs = (blocks.reshape(-1, kind.size) != wanted.reshape(-1, kind.size)).any(axis=1)
    if differs.any():
        number = int(differs.argmax())
        found = (part[number * kind.size : (number + 1) * kind.size].tolist() for part in (blocks, wanted))
        of_block = values[number * kind.block : (number + 1) * kind.block].tolist()
        pytest.fail(f"{differs.sum()} blocks differ; {number}: {of_block}: {[*found]}")


@each_type
@each_dtype
@given(data=st.data())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_the_bytes_are_ggmls(name: str, dtype: str, data: st.DataObject) -> None:
    weight = data.draw(weights(dtype, st.just(BLOCK)))
    values = as_values(weight)
    blocks, _, _ = encode(name, values)
    assert_equal(name, wide(values), blocks)


@each_type
def test_runs_of_any_magnitude_have_ggmls_bytes(name: str) -> None:
    values = sample(np.random.default_rng(17), 2 * CHUNK + 3 * BLOCK)
    assert_equal(name, values, encode(name, values)[0])


@each_type
def test_any_finite_values_have_ggmls_bytes(name: str) -> None:
    values = as_values(any_bits(np.random.default_rng(19), "float32", 64, BLOCK))
    assert_equal(name, values, encode(name, values)[0])


@each_type
def test_pieces_make_the_same_bytes_as_the_whole(name: str) -> None:
    kind, values = TYPES[name], np.random.default_rng(23).standard_normal(9 * BLOCK, np.float32)
    whole, noise, signal = encode(name, values)
    for count in (1, 3):  # of blocks, and fewer than are searched beside each other
        step = count * max(kind.block, 32)
        pieces = [encode(name, values[first : first + step]) for first in range(0, values.size, step)]
        assert b"".join(blocks.tobytes() for blocks, _, _ in pieces) == whole.tobytes()
        assert sum(piece[1] for piece in pieces) == pytest.approx(noise)
        assert sum(piece[2] for piece in pieces) == pytest.approx(signal)


@each_type
def test_blocks_stand_for_what_ggml_and_gguf_py_read(name: str) -> None:
    kind, random = TYPES[name], np.random.default_rng(29)
    for blocks in (ggml.quantize(name, sample(random, 64 * BLOCK)), random.integers(0, 256, 512 * kind.size, np.uint8)):
        found = decode(name, blocks)
        with np.errstate(invalid="ignore", over="ignore"):
            read = [quants.dequantize(blocks, GGMLQuantizationType[name])]
        if name != "BF16":
            read.append(ggml.dequantize(name, blocks))
        for values in read:
            np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
            here = ~np.isnan(found)
            np.testing.assert_array_equal(found.view(np.uint32)[here], values.view(np.uint32)[here])


@pytest.mark.parametrize("name", IN_PYTHON)
def test_ggml_and_gguf_py_pack_alike(name: str) -> None:
    values = np.random.default_rng(31).standard_normal(64 * BLOCK, np.float32)
    assert encode(name, values)[0].tobytes() == quants.quantize(values, GGMLQuantizationType[name]).tobytes()


@each_type
def test_the_counted_error_is_that_of_what_is_stored(name: str) -> None:
    random = np.random.default_rng(37)
    for scale in (1e-40, 1e-30, 1e-2, 1e3, 1e30):
        values = (random.standard_normal(7 * BLOCK) * scale).astype(np.float32)
        blocks, noise, signal = encode(name, values)
        with np.errstate(invalid="ignore", over="ignore"):
            lost = np.square(values.astype(np.float64) - decode(name, blocks)).sum()
        kept = np.square(values.astype(np.float64)).sum()
        assert signal == pytest.approx(kept, rel=1e-5, abs=0)
        assert noise == pytest.approx(lost, rel=1e-5, abs=1e-10 * kept, nan_ok=True)
