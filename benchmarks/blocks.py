"""Measures how fast GGUF's blocks are packed against ggml's own function, in alternation on one thread.

Usage: python -m benchmarks.blocks, which prints JSON
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.kernels.gguf import PACKED, decode, encode
from tests.packing import ggml

VALUES, PAIRS = 1 << 20, 9
TO_REACH = {"Q4_K": 5, "Q5_K": 5, "Q6_K": 3, "Q3_K": 3, "Q2_K": 3, "IQ4_NL": 3, "Q8_0": 3, "Q4_0": 3}


def seconds(call: Callable[[], Any]) -> float:
    """Return the processor's time that a call takes, which other processes change least."""
    began = time.thread_time()
    call()
    return time.thread_time() - began


def measured(name: str, values: np.ndarray, halves: np.ndarray) -> dict[str, Any]:
    """Compare one type: of float32, as ggml takes it, and of bfloat16, as models are stored."""
    blocks = encode(name, values)[0]
    assert (blocks == ggml.quantize(name, values)).all(), name
    wide = in_alternation(lambda: encode(name, values), lambda: ggml.quantize(name, values))
    stored = in_alternation(lambda: encode(name, halves), lambda: ggml.quantize(name, ggml.widen(halves)))
    decoding = median(seconds(lambda: decode(name, blocks)) for _ in range(PAIRS))
    return {**wide, "bfloat16": stored, "decoding": millions(decoding), "to_reach": TO_REACH.get(name)}


def in_alternation(ours: Callable[[], Any], other: Callable[[], Any]) -> dict[str, Any]:
    """Compare two calls in millions of values a second, and by the ratio of each pair."""
    ours()  # compiled by it
    pairs = [(seconds(ours), seconds(other)) for _ in range(PAIRS)]
    return {
        "ours": millions(median(mine for mine, _ in pairs)),
        "ggml": millions(median(its for _, its in pairs)),
        "ratios": sorted(round(its / mine, 2) for mine, its in pairs),
    }


def millions(taken: float) -> float:
    """Return how many million values a second that is."""
    return round(VALUES / taken / 1e6, 1)


def main() -> None:
    """Print what was measured, and how long all kernels take to compile."""
    values = (np.random.default_rng(0).standard_normal(VALUES) * 0.02).astype(np.float32)
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    few = values[:256]
    compiling = sum(seconds(lambda name=name: decode(name, encode(name, few)[0])) for name in PACKED)
    found = {}
    for name in PACKED:
        found[name] = measured(name, values, halves)
        print(name, found[name], file=sys.stderr, flush=True)
    print(json.dumps({"types": found, "compiling_seconds": round(compiling, 1)}))


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        os.environ["NUMBA_CACHE_DIR"] = folder  # read when numba is imported, which is with the first kernel
        main()
