"""The GGUF format: headers that are believed only after they were checked.

Follows the format's specification (ggml's ``docs/gguf.md``), versions 2 and 3, little-endian. Reading is strict and
bounded, because a file is somebody else's; nothing here needs the gguf package.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, Final

from pipeline.errors import SourceError
from pipeline.kernels.ggml import TYPES
from pipeline.source.safetensors import LARGEST, MOST_TOLD, ReadRange, TensorInfo

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
HEADER_LIMIT: Final = 256 << 20  # bytes; a vocabulary of 250,000 tokens with its merges takes 12 MB
CHUNK: Final = 1 << 20  # bytes read at a time
MOST_AXES: Final = 5  # ggml has 4; files of video models have kernels of 5, as diffusers and ComfyUI read them
LONGEST_NAME: Final = 65_535  # bytes of a key
ALIGNMENT: Final = 32  # bytes, where the file says no other
KEPT: Final = 64  # entries of an array of which the values are kept

SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING: Final = 8
LENGTH: Final = 8  # bytes before each text, that say how long it is
ARRAY: Final = 9


NAMES: Final = {kind.number: name for name, kind in TYPES.items()}
"""The types by the number that a file says."""


def size_of(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of a tensor whose rows are whole blocks."""
    kind = TYPES[dtype]
    return prod(shape) // kind.block * kind.size


@dataclass(frozen=True)
class GGUFHeader:
    """What a file says of itself.

    Attributes:
        metadata: The values by key; of an array with more than `KEPT` entries, how many it has.
        tensors: Where each tensor lies, by name, in the order of the data; shapes as numpy has them, rows first, and
            the type's own name as dtype.
        alignment: The bytes of which the place of each tensor is a multiple.
        apart: The first tensor that does not lie behind the one named before it, by which ggml refuses a file and
            others do not; none where all do.
    """

    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]
    alignment: int
    apart: str = ""


class Cursor:
    """Reads a header forwards, in chunks.

    Args:
        read: Reads a range of the file.
        size: The file's size in bytes.
        where: How the file is named in an error.
    """

    def __init__(self, read: ReadRange, size: int, where: str) -> None:
        self._read = read
        self._limit = min(size, HEADER_LIMIT)
        self.where = where
        self.at = 0
        self._begin = 0
        self._held = b""

    def take(self, length: int) -> bytes:
        """Return the next bytes.

        Raises:
            SourceError: There are not so many, or more than a header has.
        """
        if length > self._limit - self.at:
            raise refusal(self.where, f"its header is cut off, or longer than {HEADER_LIMIT} bytes")
        inside = self.at - self._begin
        if inside + length > len(self._held):
            wanted = min(max(CHUNK, length), self._limit - self.at)
            self._held, self._begin, inside = self._read(self.at, wanted), self.at, 0
            if len(self._held) < length:
                raise refusal(self.where, "its header is cut off")
        self.at += length
        return self._held[inside : inside + length]

    def number(self, form: str) -> Any:
        """Return the next number, by its letter of Python's struct."""
        return struct.unpack(f"<{form}", self.take(struct.calcsize(form)))[0]

    def text(self, most: int = HEADER_LIMIT) -> str:
        """Return the next text; bytes that are no UTF-8 become marks.

        Raises:
            SourceError: It is longer than it may be.
        """
        if (length := self.number("Q")) > most:
            raise refusal(self.where, f"a name in its header claims {length} bytes")
        return self.take(length).decode(errors="replace")

    def value(self, kind: int) -> Any:
        """Return the next value of a kind.

        Raises:
            SourceError: There is no such kind, or no such array.
        """
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            raise refusal(self.where, f"a value in its header is of kind {kind}, which the format has not")
        inner, count = self.number("I"), self.number("Q")
        if inner in SCALARS and count > KEPT:
            self.take(struct.calcsize(SCALARS[inner]) * count if count < LARGEST else LARGEST)
            return count
        if inner == ARRAY or count * LENGTH > self._limit - self.at:
            raise refusal(self.where, f"an array in its header claims {count} values of kind {inner}")
        kept = [value for place in range(count) if (value := self.value(inner)) is not None and place < KEPT]
        return kept if count <= KEPT else count


def parse_header(read: ReadRange, size: int, where: str) -> GGUFHeader:
    """Read and check a header through ranges of the file.

    Args:
        read: Reads a range of the file.
        size: The file's size in bytes, as its place says.
        where: How the file is named in an error.

    Raises:
        SourceError: The file is truncated or its header lies.
    """
    cursor = Cursor(read, size, where)
    if cursor.take(4) != MAGIC:
        raise refusal(where, "it does not begin with GGUF")
    if (version := cursor.number("I")) not in VERSIONS:
        if version > 0xFFFF:
            raise refusal(where, "it is big-endian", "Turn it with gguf-convert-endian, of the package gguf on PyPI.")
        raise refusal(where, f"it is of version {version}, and versions 2 and 3 are read")
    count, keys = cursor.number("Q"), cursor.number("Q")
    metadata: dict[str, Any] = {}
    for _ in range(min(keys, HEADER_LIMIT)):
        key = cursor.text(LONGEST_NAME)
        if key in metadata:
            raise refusal(where, f"the key {key[:MOST_TOLD]!r} stands in its header twice")
        metadata[key] = cursor.value(cursor.number("I"))
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or not 1 <= alignment <= HEADER_LIMIT or alignment & (alignment - 1):
        raise refusal(where, f"its alignment is {str(alignment)[:MOST_TOLD]}, which is no power of two")
    claims: dict[str, tuple[str, tuple[int, ...], int]] = {}
    for _ in range(min(count, HEADER_LIMIT)):
        name = cursor.text(LONGEST_NAME)
        if name in claims:
            raise refusal(where, f"the tensor {name[:MOST_TOLD]!r} stands in its header twice")
        claims[name] = read_claim(cursor, name)
    start = -(-cursor.at // alignment) * alignment
    tensors = placed(claims, start, size, alignment, where)
    return GGUFHeader(metadata, tensors, alignment, apart([tensors[name] for name in claims], list(claims), alignment))


def read_claim(cursor: Cursor, name: str) -> tuple[str, tuple[int, ...], int]:
    """Read what the header says of one tensor: its type, its shape, rows first, and its offset."""
    axes = cursor.number("I")
    if axes > MOST_AXES:
        raise refusal(cursor.where, f"tensor {name[:MOST_TOLD]!r} claims {axes} axes")
    shape = tuple(cursor.number("Q") for _ in range(axes))[::-1]
    number, offset = cursor.number("I"), cursor.number("Q")
    if number not in NAMES:
        remedy = "If the file is newer than this program, install a newer one; else download the file again."
        raise refusal(cursor.where, f"tensor {name[:MOST_TOLD]!r} is of type {number}, which is unknown", remedy)
    kind = NAMES[number]
    block = TYPES[kind].block
    if any(length >= LARGEST for length in shape) or offset >= LARGEST or (shape or (1,))[-1] % block:
        claim = f"type {kind}, shape {list(shape)} and offset {offset}"
        raise refusal(cursor.where, f"tensor {name[:MOST_TOLD]!r} claims {claim}; a block has {block} values")
    return kind, shape, offset


def placed(
    claims: dict[str, tuple[str, tuple[int, ...], int]], start: int, size: int, alignment: int, where: str
) -> dict[str, TensorInfo]:
    """Check that tensors lie apart, aligned and inside the file; return them in that order."""
    slots = {}
    for name, (kind, shape, offset) in claims.items():
        slots[name] = TensorInfo(kind, shape, start + offset, start + offset + size_of(kind, shape))
        if offset % alignment:
            told = f"tensor {name[:MOST_TOLD]!r} begins at offset {offset}, which is no multiple of {alignment}"
            raise refusal(where, told)
    ordered = dict(sorted(slots.items(), key=lambda item: (item[1].begin, item[1].end)))
    for (_, before), (name, slot) in pairwise(ordered.items()):
        if slot.begin < before.end:
            told = f"tensor {name[:MOST_TOLD]!r} overlaps the tensor before it: it begins at byte {slot.begin}"
            raise refusal(where, f"{told} instead of {before.end}")
    end = max((slot.end for slot in ordered.values()), default=0)
    if end > size:
        raise refusal(where, f"the file is truncated: {size} bytes, and its tensors end at {end}")
    return ordered


def apart(slots: Sequence[TensorInfo], names: Sequence[str], alignment: int) -> str:
    """Return the first tensor in a header's order that does not lie where the one before it ends; none, empty."""
    for before, slot, name in zip(slots, slots[1:], names[1:], strict=False):
        if slot.begin != before.begin + -(-(before.end - before.begin) // alignment) * alignment:
            return name
    return ""


def refusal(
    where: str, reason: str, remedy: str = "Download it again, or ask its publisher for a whole one."
) -> SourceError:
    """Return the error for a file that is not what it says."""
    return SourceError(f"This GGUF file cannot be trusted: {reason}.", where=where, remedy=remedy)
