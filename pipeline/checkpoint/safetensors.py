"""The safetensors format: headers that are believed only after they were checked, and files written tensor by tensor.

Follows the format's specification (an 8-byte little-endian length, a JSON header, the data without holes). Reading is
strict, because a source is somebody else's file; nothing here needs torch or the safetensors package.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from pipeline.checkpoint.linears import TensorHeader
from pipeline.errors import QuantizationError, SourceError
from pipeline.files import PIECE, disk_errors

DTYPE_SIZES: Final = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
HEADER_LIMIT: Final = 100_000_000  # bytes; what the safetensors library itself accepts
LINE: Final = 64  # bytes of a cache line, and the widest vector
LATE_ROOM: Final = 512  # header bytes kept for a tensor whose length only its content tells
METADATA_ROOM: Final = 1024  # header bytes kept for what a backend says of one quantized weight

ReadRange = Callable[[int, int], bytes]
"""Reads ``length`` bytes from ``offset``; may return fewer at the end of the file."""


@dataclass(frozen=True)
class Slot:
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


def read_header(path: Path) -> dict[str, Slot]:
    """Read and check the header of a file on disk.

    Raises:
        SourceError: The file is truncated or its header lies.
    """
    with path.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        return parse_header(read, path.stat().st_size, str(path))


def parse_header(read: ReadRange, size: int, where: str) -> dict[str, Slot]:
    """Read and check a header through ranges of the file.

    Args:
        read: Reads a range of the file.
        size: The file's size in bytes, as its place says.
        where: How the file is named in an error.

    Returns:
        The slots by name, in the order of the data.

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
        entries = json.loads(text, object_pairs_hook=without_duplicates)
    except (ValueError, RecursionError) as error:
        raise refusal(where, f"the header is no JSON object ({error})") from error
    if len(text) != length or not isinstance(entries, dict):
        raise refusal(where, "the header is cut off or no JSON object")
    entries.pop("__metadata__", None)
    slots = {name: read_slot(name, entry, 8 + length, where) for name, entry in entries.items()}
    return without_holes(slots, 8 + length, size, where)


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a JSON object that says something twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def read_slot(name: str, entry: Any, start: int, where: str) -> Slot:
    """Check one entry of a header and place it in the file."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        numbers = [*shape, begin, end]
        honest = all(type(number) is int and number >= 0 for number in numbers)
        honest = honest and end - begin == size_of(dtype, shape)
    except (KeyError, TypeError, ValueError) as error:
        raise refusal(where, f"the entry of tensor {name!r} is incomplete or of an unknown dtype") from error
    if not honest:
        raise refusal(where, f"tensor {name!r} claims dtype {dtype}, shape {list(shape)} and bytes {begin} to {end}")
    return Slot(dtype, shape, start + begin, start + end)


def without_holes(slots: dict[str, Slot], start: int, size: int, where: str) -> dict[str, Slot]:
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


def placing(item: tuple[str, tuple[str, tuple[int, ...]]]) -> tuple[bool, int, str]:
    """Return the key by which tensors of known shape are ordered in a file."""
    name, (dtype, shape) = item
    return size_of(dtype, shape) % LINE != 0, -DTYPE_SIZES[dtype], name


class Writer:
    """Writes one safetensors file whose tensors come in any order, each to its own place.

    Tensors of a whole number of lines lie first, so that every large one begins at a multiple of 64 bytes; the rest lie
    by falling dtype size, so that each is aligned to its elements. The safetensors library aligns to elements only, and
    torch's int8 product on a CPU (``_weight_int8pack_mm``, torch 2.13) crashes on a mapped weight at such an address.
    Those whose length only their content tells are kept in memory (they are some hundred bytes each) and written
    last; the header is padded with spaces to the room that was kept for it.

    Args:
        path: The file to write.
        tensors: dtype and shape by name; the shape is None where it is not known yet, of bytes (U8) only.
        metadata_room: Bytes of the header to keep for metadata.
    """

    def __init__(self, path: Path, tensors: dict[str, tuple[str, tuple[int, ...] | None]], metadata_room: int) -> None:
        self.path = path
        self._missing = set(tensors)
        self._late: dict[str, tuple[str, bytes]] = {}
        self._slots: dict[str, Slot] = {}
        known = {name: (dtype, shape) for name, (dtype, shape) in tensors.items() if shape is not None}
        offset = 0
        for name, (dtype, shape) in sorted(known.items(), key=placing):
            end = offset + size_of(dtype, shape)
            self._slots[name] = Slot(dtype, shape, offset, end)
            offset = end
        self._end = offset
        late = len(tensors) - len(known)
        room = len(self._header({})) + late * LATE_ROOM + METADATA_ROOM + metadata_room
        self._start = -(-(8 + room) // LINE) * LINE
        with disk_errors(path):
            self._file = path.open("wb")

    def put(self, name: str, dtype: str, shape: tuple[int, ...], content: bytes | memoryview) -> None:
        """Write one tensor.

        Raises:
            QuantizationError: The tensor is not what was planned for this file.
            CannotHereError: The disk is full.
        """
        slot = self._slots.get(name)
        if name not in self._missing or (slot is not None and (slot.dtype, slot.shape) != (dtype, shape)):
            planned = f"{slot.dtype} {list(slot.shape)}" if slot else "no such tensor"
            raise QuantizationError(
                f"{name} came as {dtype} {list(shape)}, planned was {planned}.", where=str(self.path)
            )
        self._missing.remove(name)
        if slot is None:
            self._late[name] = (dtype, bytes(content))
            return
        self._write(self._start + slot.begin, content)

    def finish(self, metadata: dict[str, str]) -> None:
        """Write what came late and the header, and see the bytes on the disk.

        Raises:
            QuantizationError: A tensor never came.
            CannotHereError: The disk is full.
        """
        if self._missing:
            raise QuantizationError(f"{min(self._missing)} was never written.", where=str(self.path))
        for name, (dtype, content) in sorted(self._late.items()):
            end = self._end + len(content)
            self._slots[name] = Slot(dtype, (len(content) // DTYPE_SIZES[dtype],), self._end, end)
            self._write(self._start + self._end, content)
            self._end = end
        header = self._header(metadata)
        if len(header) > self._start - 8:
            raise QuantizationError("The header outgrew the room that was kept for it.", where=str(self.path))
        self._write(0, struct.pack("<Q", self._start - 8) + header.ljust(self._start - 8))
        with disk_errors(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()

    def _write(self, offset: int, content: bytes | memoryview) -> None:
        with disk_errors(self.path):
            self._file.seek(offset)
            self._file.write(content)

    def _header(self, metadata: dict[str, str]) -> bytes:
        entries: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
        for name, slot in self._slots.items():
            offsets = [slot.begin, slot.end]
            entries[name] = {"dtype": slot.dtype, "shape": list(slot.shape), "data_offsets": offsets}
        return json.dumps(entries, separators=(",", ":")).encode()
