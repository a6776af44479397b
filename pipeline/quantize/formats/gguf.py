"""Files of GGUF to be written, version 3: where tensors lie in them, and their headers.

Tensors lie in the order in which they are made, which is that of the header as well: llama.cpp (gguf.cpp of
ggml) takes no other.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from pipeline.kernels.ggml import TYPES
from pipeline.quantize.formats.layout import FileLayout
from pipeline.source import gguf
from pipeline.source.gguf import ARRAY, MAGIC, SCALARS, STRING, size_of
from pipeline.source.safetensors import Specs, TensorInfo

ALIGNMENT: Final = gguf.ALIGNMENT
KIND_OF: Final = {letter: kind for kind, letter in SCALARS.items()}
VERSION: Final = 3
KINDS: Final = {bool: "?", int: "I", float: "f"}  # the letter of the kind that a value of a header has
ENTRIES: Final = {**KINDS, int: "i"}  # that an entry of an array has: llama.cpp numbers kinds of tokens with a sign


def place(tensors: Specs, scattered: Collection[str] = ()) -> FileLayout:
    """Decide where tensors lie in a file: one after the other, each at a multiple of `ALIGNMENT`; scattered ones last.

    Raises:
        ValueError: The shape of one is not known.
    """
    slots: dict[str, TensorInfo] = {}
    offset, ragged = 0, None
    for name in sorted(tensors, key=lambda name: name in scattered):
        dtype, shape = tensors[name]
        ragged = offset if ragged is None and name in scattered else ragged
        if shape is None:
            raise ValueError(f"a GGUF file cannot wait for the shape of {name}")
        size = size_of(dtype, shape)
        slots[name] = TensorInfo(dtype, shape, offset, offset + size)
        offset = start(offset + size)
    return FileLayout(slots, offset if ragged is None else ragged, offset)


def header(slots: Mapping[str, TensorInfo], metadata: Mapping[str, Any]) -> bytes:
    """Return the header of a file: its keys, texts or numbers, and its tensors with the columns of each first."""
    content = [MAGIC, struct.pack("<IQQ", VERSION, len(slots), len(metadata))]
    content += [text(key) + value(found) for key, found in metadata.items()]
    for name, slot in slots.items():
        axes = struct.pack(f"<I{len(slot.shape)}Q", len(slot.shape), *reversed(slot.shape))
        content += [text(name), axes, struct.pack("<IQ", TYPES[slot.dtype].number, slot.begin)]
    return b"".join(content)


def text(said: str) -> bytes:
    """Return a text as headers have it: its length and its bytes."""
    content = said.encode()
    return struct.pack("<Q", len(content)) + content


def value(found: str | bytes | float | Sequence[str] | Sequence[float]) -> bytes:
    """Return a value with its kind: a text, a truth, a number of 32 bits without a sign, a float of 32 bits, an array.

    An array has bytes, texts, numbers of 32 bits with a sign, or floats; one without entries counts as one of texts.
    """
    if isinstance(found, bytes):
        return struct.pack("<IIQ", ARRAY, KIND_OF["B"], len(found)) + found
    if isinstance(found, str):
        return struct.pack("<I", STRING) + text(found)
    if not isinstance(found, Sequence):
        letter = KINDS[type(found)]
        return struct.pack(f"<I{letter}", KIND_OF[letter], found)
    letter = ENTRIES.get(type(next(iter(found), "")), "")
    inner = KIND_OF[letter] if letter else STRING
    content = struct.pack(f"<{len(found)}{letter}", *found) if letter else b"".join(map(text, found))  # type: ignore[arg-type]
    return struct.pack("<IIQ", ARRAY, inner, len(found)) + content


def start(size: int) -> int:
    """Return the byte where tensors begin behind a header of so many bytes."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def prefix(header: bytes, start: int) -> bytes:
    """Return the first ``start`` bytes of a file: its header, and zeros behind it.

    Raises:
        ValueError: The header is longer than that.
    """
    if len(header) > start:
        raise ValueError(f"a header of {len(header)} bytes does not fit before byte {start}")
    return header.ljust(start, b"\0")
