"""The safetensors format: headers that are believed only after they were checked.

Follows the format's specification (an 8-byte little-endian length, a JSON header, the data without holes). Reading is
strict, because a source is somebody else's file; nothing here needs torch or the safetensors package.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from pipeline.errors import SourceError
from pipeline.files import PIECE
from pipeline.source.strict import parse

DTYPE_SIZES: Final = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
TORCH_DTYPES: Final = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip
STORED_DTYPES: Final = {name: stored for stored, name in TORCH_DTYPES.items()}
FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16"})
HEADER_LIMIT: Final = 100_000_000  # bytes; what the safetensors library itself accepts
LARGEST: Final = 1 << 63  # what no length or offset reaches; the product of numbers without bounds never ends
MOST_AXES: Final = 64  # as numpy has it
MOST_TOLD: Final = 400  # characters of a claim in a message

Specs = dict[str, tuple[str, tuple[int, ...] | None]]
"""Safetensors dtype and shape by name; the shape is None where only the content tells it."""

ReadRange = Callable[[int, int], bytes]
"""Reads ``length`` bytes from ``offset``; may return fewer at the end of the file."""


class TensorHeader(BaseModel):
    """A tensor as a safetensors header names it: dtype in the format's own spelling, shape in elements."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: dtype and shape, and the half-open byte range in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def header(self) -> TensorHeader:
        """The slot without its place."""
        return TensorHeader(dtype=self.dtype, shape=self.shape)


def size_of(dtype: str, shape: Iterable[int]) -> int:
    """Return the bytes of a tensor."""
    return DTYPE_SIZES[dtype] * prod(shape)


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Read and check the header of a file on disk.

    Raises:
        SourceError: The file is truncated or its header lies.
    """
    with path.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        return parse_header(read, path.stat().st_size, str(path))


def parse_header(read: ReadRange, size: int, where: str) -> dict[str, TensorInfo]:
    """Read and check a header through ranges of the file; as `parse_whole_header`, without the metadata."""
    return parse_whole_header(read, size, where)[0]


def parse_whole_header(read: ReadRange, size: int, where: str) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Read and check a header through ranges of the file.

    Args:
        read: Reads a range of the file.
        size: The file's size in bytes, as its place says.
        where: How the file is named in an error.

    Returns:
        The slots by name, in the order of the data, and the metadata.

    Raises:
        SourceError: The file is truncated or its header lies.
    """
    first = read(0, min(size, PIECE >> 2))
    length = struct.unpack("<Q", first[:8])[0] if len(first) >= 8 else HEADER_LIMIT + 1
    if length > min(HEADER_LIMIT, size - 8):
        raise refusal(where, f"the header claims {length} bytes in a file of {size}")
    text = first[8 : 8 + length]
    text += read(len(first), 8 + length - len(first)) if len(text) < length else b""
    try:
        entries = parse(text, twice=False)
    except ValueError as error:
        raise refusal(where, f"the header is no JSON object ({error})") from error
    if len(text) != length or not isinstance(entries, dict):
        raise refusal(where, "the header is cut off or no JSON object")
    metadata = entries.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise refusal(where, "the metadata of its header are no texts by name")
    slots = {name: read_slot(name, entry, 8 + length, where) for name, entry in entries.items()}
    return without_holes(slots, 8 + length, size, where), metadata


def read_slot(name: str, entry: Any, start: int, where: str) -> TensorInfo:
    """Check one entry of a header and place it in the file."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        numbers = [*shape, begin, end]
        honest = len(shape) <= MOST_AXES and all(type(number) is int and 0 <= number < LARGEST for number in numbers)
        honest = honest and end - begin == size_of(dtype, shape)
    except (KeyError, TypeError, ValueError) as error:
        raise refusal(where, f"the entry of tensor {name!r} is incomplete or of an unknown dtype") from error
    if not honest:
        claim = f"dtype {dtype}, shape {list(shape)[: MOST_AXES + 1]} and bytes {begin} to {end}"
        raise refusal(where, f"tensor {name!r} claims {claim[:MOST_TOLD]}")
    return TensorInfo(dtype, shape, start + begin, start + end)


def without_holes(slots: dict[str, TensorInfo], start: int, size: int, where: str) -> dict[str, TensorInfo]:
    """Check that tensors lie one after another and fill the file; return them in that order."""
    ordered = sorted(slots.items(), key=lambda item: (item[1].begin, item[1].end))
    reached = start
    for name, slot in ordered:
        if slot.begin != reached:
            fault = "overlaps the tensor before it" if slot.begin < reached else "leaves a hole before it"
            raise refusal(where, f"tensor {name!r} {fault}: it begins at byte {slot.begin} instead of {reached}")
        reached = slot.end
    if reached != size:
        kind = "truncated" if size < reached else "longer than its tensors"
        raise refusal(where, f"the file is {kind}: {size} bytes, and its tensors end at {reached}")
    return dict(ordered)


def refusal(where: str, reason: str) -> SourceError:
    """Return the error for a file that is not what it says."""
    remedy = "Download it again, or ask its publisher for a whole one."
    return SourceError(f"This safetensors file cannot be trusted: {reason}.", where=where, remedy=remedy)
