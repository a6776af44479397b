"""Our own packing of bitsandbytes' weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.backends.bitsandbytes.quant_state import BLOCK, NESTED_BLOCK, state
from pipeline.backends.packings import Array, Lazy, Rows, SquaredErrorSums
from pipeline.backends.protocol import Finished, Part
from pipeline.kernels.levels import codebook, dynamic_levels

NESTED = -1  # where the error of quantized absmax values is noted: before the first piece


class Int8(Rows):
    """Rows of int8 with their absmax, and the mark that they are stored row by row."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        from pipeline.kernels.rows import pack_bitsandbytes_int8

        self._module = name.removesuffix("weight")
        super().__init__(pack_bitsandbytes_int8, shape, (name, np.int8), (f"{self._module}SCB", np.float32))

    def finish(self) -> Finished:
        """Return the absmax of all rows, and the mark."""
        done = super().finish()
        return replace(done, tensors={**done.tensors, f"{self._module}weight_format": np.zeros((), np.uint8)})


class Blocks:
    """Codes of four bits in blocks of 64 values, and what ``QuantState.as_dict(packed=True)`` says of them."""

    unit = BLOCK

    def __init__(self, scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> None:
        self._scheme, self._options, self._name, self._shape, self._dtype = scheme, options, name, shape, dtype
        blocks = -(-shape[0] * shape[1] // BLOCK)
        self._absmax = Lazy(lambda: np.empty(blocks, np.float32))
        self._moments = Lazy(lambda: np.empty((blocks, 2), np.float32))
        self._errors = SquaredErrorSums()

    def pack(self, first: int, values: Array) -> list[Part]:
        """Quantize whole blocks, or those that are left and a ragged one."""
        from pipeline.kernels.blocks import pack_blocks

        block = first // BLOCK
        moments = self._moments.get()[block:] if self._options["double_quant"] else None
        codes = np.empty((values.size + 1) // 2, np.uint8)
        noise, signal = pack_blocks(values, codebook(self._scheme), self._absmax.get()[block:], moments, codes)
        self._errors.note(first, noise, signal)
        return [(self._name, first // 2, codes)]

    def finish(self) -> Finished:
        """Return the absmax, the levels, and the state as JSON; quantized absmax values with levels of their own."""
        absmax: Array = self._absmax.get()
        nested: dict[str, Array] = {}
        said_of = state(self._scheme, self._shape, self._dtype)
        if self._options["double_quant"]:
            from pipeline.kernels.nested import quantize_nested

            made = quantize_nested(absmax, self._moments.get())
            absmax, nested = made.codes, {"nested_absmax": made.absmax, "nested_quant_map": dynamic_levels()}
            said_of |= {"nested_blocksize": NESTED_BLOCK, "nested_dtype": "float32", "nested_offset": made.offset}
            self._errors.note(NESTED, made.noise, 0)
        said: dict[str, Array] = {
            "absmax": absmax,
            "quant_map": codebook(self._scheme).by_code,
            f"quant_state.bitsandbytes__{self._scheme}": np.frombuffer(json.dumps(said_of).encode(), np.uint8),
            **nested,
        }
        return self._errors.finished({f"{self._name}.{part}": content for part, content in said.items()})
