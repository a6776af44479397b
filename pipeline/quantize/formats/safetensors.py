"""Files of safetensors to be written: where tensors lie in them, and their headers."""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Mapping
from typing import Any, Final

from pipeline.quantize.formats.layout import FileLayout
from pipeline.source.safetensors import DTYPE_SIZES, Specs, TensorInfo, size_of

LINE: Final = 64  # bytes of a cache line, and the widest vector
ALIGNMENT: Final = 1  # no file may have a hole


def place(tensors: Specs, scattered: Collection[str] = ()) -> FileLayout:
    """Decide where tensors lie in a file.

    Tensors of a whole number of lines lie first, in the order given, so that every large one begins at a multiple of
    64 bytes; the rest lie by falling dtype size, so that each is aligned to its elements. The safetensors library
    aligns to elements only, and torch's int8 product on a CPU (``_weight_int8pack_mm``, torch 2.13) crashes on a mapped
    weight at such an address.
    """
    known = {
        name: (dtype, shape, size_of(dtype, shape)) for name, (dtype, shape) in tensors.items() if shape is not None
    }
    lines = [name for name, (_, _, size) in known.items() if size % LINE == 0]
    whole = [name for name in lines if name not in scattered]
    rest = sorted(known.keys() - set(lines), key=lambda name: (-DTYPE_SIZES[known[name][0]], name))
    ragged = [*(name for name in lines if name in scattered), *rest]
    slots = {}
    offset = 0
    for name in (*whole, *ragged):
        dtype, shape, size = known[name]
        slots[name] = TensorInfo(dtype, shape, offset, offset + size)
        offset += size
    begin = slots[ragged[0]].begin if ragged else offset
    return FileLayout(slots, begin, offset, tuple(sorted(tensors.keys() - known.keys())))


def header(slots: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bytes:
    """Return the JSON text of a header."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for name, slot in slots.items():
        entries[name] = {"dtype": slot.dtype, "shape": list(slot.shape), "data_offsets": [slot.begin, slot.end]}
    return json.dumps(entries, separators=(",", ":")).encode()


def start(size: int) -> int:
    """Return the byte where tensors begin behind a header of so many bytes: at a line."""
    return -(-(8 + size) // LINE) * LINE


def prefix(header: bytes, start: int) -> bytes:
    """Return the first ``start`` bytes of a file: the length of its header, and the header padded with spaces.

    Raises:
        ValueError: The header is longer than that.
    """
    if 8 + len(header) > start:
        raise ValueError(f"a header of {len(header)} bytes does not fit before byte {start}")
    return struct.pack("<Q", start - 8) + header.ljust(start - 8)
