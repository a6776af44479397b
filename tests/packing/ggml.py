"""ggml itself, which packs blocks as llama.cpp does: a library within a package of npm, pinned and called by ctypes.

Usage: python -m tests.packing.ggml FOLDER
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.kernels.ggml import TYPES
from pipeline.validate.browser.scripts import Package, fetch_packages

LIBRARY = "bins/linux-x64/libggml-base.so"
LLAMA = tuple(f"bins/linux-x64/{name}.so" for name in ("libggml.v0.5.0", "libggml-cpu-x64", "libllama.v0.5.0"))
PACKAGE = Package(
    name="@node-llama-cpp/linux-x64",
    version="3.22.1",
    integrity="sha512-5uCCDNqWCNfaAm8aR/Uzxbo4HBpKgNF91kCHPepKhgMgV2OAmatoefbOlMihsqCiH2Od35E/eUHQCFbfRBJuOg==",
    files=(LIBRARY, *LLAMA),
)
LAST_TYPE = 42  # of the pinned version
FETCHED = Path(__file__).parents[2] / "build" / "ggml"


def fetched(name: str) -> Path:
    """Return a file of the package; a test without it is skipped, and fails where CI is set."""
    path = FETCHED / PACKAGE.address / name
    if not path.exists():
        lacks = f"{path.name} is not here; `make ggml` gets it"
        pytest.fail(lacks) if os.environ.get("CI") else pytest.skip(lacks)
    return path


@cache
def library() -> ctypes.CDLL:
    """Return ggml; a test without it is skipped, and fails where CI is set."""
    loaded = ctypes.CDLL(str(fetched(LIBRARY)))
    loaded.ggml_quantize_chunk.restype = ctypes.c_size_t
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    loaded.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
    return loaded


def quantize(name: str, values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the blocks that ggml makes of values, without an importance matrix."""
    kind = TYPES[name]
    blocks = np.zeros(values.size // kind.block * kind.size, np.uint8)
    arguments = kind.number, values.ctypes.data, blocks.ctypes.data, 0, 1, values.size, None
    assert library().ggml_quantize_chunk(*arguments) == blocks.size
    return blocks


def types() -> dict[int, tuple[str, int, int]]:
    """Return every type that ggml stores: by its number, its name and the values and bytes of a block."""
    found, loaded = {}, library()
    loaded.ggml_type_name.restype, loaded.ggml_type_name.argtypes = ctypes.c_char_p, [ctypes.c_int]
    loaded.ggml_blck_size.restype, loaded.ggml_blck_size.argtypes = ctypes.c_int64, [ctypes.c_int]
    loaded.ggml_type_size.restype, loaded.ggml_type_size.argtypes = ctypes.c_size_t, [ctypes.c_int]
    for number in range(LAST_TYPE + 1):
        if size := loaded.ggml_type_size(number):  # none, of those that were removed
            name = loaded.ggml_type_name(number).decode().upper()
            found[number] = (name, loaded.ggml_blck_size(number), size)
    return found


def widen(halves: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the float32 of bfloat16 given as its bits, which is all that ggml packs."""
    values = np.empty(halves.size, np.float32)
    function = library().ggml_bf16_to_fp32_row
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None
    function(halves.ctypes.data, values.ctypes.data, values.size)
    return values


def dequantize(name: str, blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what ggml reads from blocks of any type but BF16."""
    kind = TYPES[name]
    values = np.empty(blocks.size // kind.size * kind.block, np.float32)
    function = getattr(library(), f"dequantize_row_{name.lower().replace('_k', '_K')}")
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None
    function(blocks.ctypes.data, values.ctypes.data, values.size)
    return values


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if not all((folder / PACKAGE.address / name).exists() for name in PACKAGE.files):
        shutil.rmtree(folder / PACKAGE.address, ignore_errors=True)  # what was fetched before a file was added
        fetch_packages((PACKAGE,), folder)
