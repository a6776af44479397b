"""The ONNX format: the nodes and the constants of a graph, found by walking its protobuf without reading weights.

Follows ``onnx.proto3`` of ONNX 1.23. Reading is strict and bounded, because a file is somebody else's; nothing here
needs the onnx package. Graphs inside nodes, such as the branches of an ``If``, are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count as counting
from typing import Final, NamedTuple

from pipeline.errors import SourceError
from pipeline.source.safetensors import LARGEST, MOST_TOLD, ReadRange, TensorInfo, size_of

DTYPES: Final = {
    1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 9: "BOOL", 10: "F16", 11: "F64", 12: "U32",
    13: "U64", 16: "BF16", 17: "F8_E4M3", 19: "F8_E5M2",
}  # fmt: skip
"""Safetensors dtypes by ``TensorProto.DataType``; others are passed over."""
CHUNK: Final = 1 << 16  # bytes read at a time
MOST_FIELDS: Final = 4_000_000
LONGEST: Final = 1 << 20  # bytes of a node or a text
GRAPH, NODE, CONSTANT = 7, 1, 5  # fields of ModelProto and GraphProto
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # kinds of values on the wire


class Field(NamedTuple):
    """A field of a message: its number, the kind of its value, the value where it is a number, and where it lies."""

    number: int
    kind: int
    value: int
    begin: int
    end: int


@dataclass(frozen=True)
class Node:
    """A node of a graph: its operator, the names that it takes and gives, its whole numbers by name, and its name."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: dict[str, int]
    name: str


@dataclass(frozen=True)
class Constant:
    """A constant of a graph: its place, in the file of the graph itself or in the one that is named."""

    slot: TensorInfo
    file: str = ""


@dataclass
class Graph:
    """What a file says."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)


@dataclass
class Walker:
    """Walks messages of a file.

    Attributes:
        read: Reads a range of the file.
        size: The file's size in bytes.
        where: How it is named in an error.
    """

    read: ReadRange
    size: int
    where: str
    _begin: int = 0
    _held: bytes = b""
    _left: Iterator[int] = field(default_factory=lambda: counting(MOST_FIELDS, -1))

    def byte(self, at: int) -> int:
        """Return a byte.

        Raises:
            SourceError: The file ends before.
        """
        if not self._begin <= at < self._begin + len(self._held):
            self._held, self._begin = self.read(at, min(CHUNK, self.size - at)) if at < self.size else b"", at
            if not self._held:
                raise refusal(self.where, "it is cut off")
        return self._held[at - self._begin]

    def number(self, at: int) -> tuple[int, int]:
        """Return a number of the wire's variable length, and where it ends."""
        value = 0
        for place in range(10):
            byte = self.byte(at + place)
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return value & (1 << 64) - 1, at + place + 1
        raise refusal(self.where, "a number in it does not end")

    def fields(self, begin: int, end: int) -> Iterator[Field]:
        """Yield the fields of the message between two places.

        Raises:
            SourceError: It is no message.
        """
        at = begin
        while at < end:
            if next(self._left) <= 0:
                raise refusal(self.where, f"it has more than {MOST_FIELDS} fields")
            key, at = self.number(at)
            value, start = 0, at
            kind = key & 7
            if kind == VARINT:
                value, at = self.number(at)
            elif kind == BYTES:
                length, start = self.number(at)
                at = start + length
            elif kind in {FIXED32, FIXED64}:
                at += 4 if kind == FIXED32 else 8
            else:
                raise refusal(self.where, "it is no protobuf")
            if at > end:
                raise refusal(self.where, "a field of it is longer than what it lies in")
            yield Field(key >> 3, kind, value, start, at)

    def text(self, found: Field) -> str:
        """Return the text of a field.

        Raises:
            SourceError: It is longer than any name.
        """
        if found.end - found.begin > LONGEST:
            raise refusal(self.where, f"a name in it has {found.end - found.begin} bytes")
        return self.read(found.begin, found.end - found.begin).decode(errors="replace")


def parse_graph(read: ReadRange, size: int, where: str) -> Graph:
    """Read the nodes of a graph and where its constants lie.

    Args:
        read: Reads a range of the file.
        size: The file's size in bytes, as its place says.
        where: How the file is named in an error.

    Raises:
        SourceError: It is no graph, or truncated.
    """
    walker, graph = Walker(read, size, where), Graph()
    graphs = [found for found in walker.fields(0, size) if found.number == GRAPH]
    if len(graphs) != 1:
        raise refusal(where, "it has no graph")
    for found in walker.fields(graphs[0].begin, graphs[0].end):
        if found.number == NODE and found.end - found.begin <= LONGEST:
            graph.nodes.append(read_node(walker, found))
        elif found.number == CONSTANT:
            read_constant(walker, found, graph)
    return graph


def read_node(walker: Walker, message: Field) -> Node:
    """Read a node."""
    texts: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: []}
    numbers = dict[str, int]()
    for found in walker.fields(message.begin, message.end):
        if found.number in texts:
            texts[found.number].append(walker.text(found))
        elif found.number == 5:
            parts = {part.number: part for part in walker.fields(found.begin, found.end) if part.number in {1, 3}}
            if 1 in parts and 3 in parts:
                numbers[walker.text(parts[1])] = parts[3].value
    return Node("".join(texts[4][-1:]), tuple(texts[1]), tuple(texts[2]), numbers, "".join(texts[3][-1:]))


def read_constant(walker: Walker, message: Field, graph: Graph) -> None:
    """Read where a constant lies, unless it is of a dtype or kept in a way that is not read here."""
    shape, kind, name, place = list[int](), 0, "", None
    outside = dict[str, str]()
    for found in walker.fields(message.begin, message.end):
        if found.number == 1 and found.end - found.begin <= LONGEST:
            shape += packed(walker, found) if found.kind == BYTES else [found.value]
        elif found.number == 2:
            kind = found.value
        elif found.number == 8:
            name = walker.text(found)
        elif found.number == 9 or (found.number == 4 and kind == 1):
            place = found
        elif found.number == 13:
            entry = {part.number: walker.text(part) for part in walker.fields(found.begin, found.end)}
            outside[entry.get(1, "")] = entry.get(2, "")
    if kind not in DTYPES or not all(length < LARGEST for length in shape):
        return
    size = size_of(DTYPES[kind], shape)
    numbers = [outside.get(key, other) for key, other in (("offset", "0"), ("length", str(size)))]
    if outside and all(each.isdecimal() and each.isascii() and len(each) < 19 for each in numbers):
        begin, length = map(int, numbers)
        slot = TensorInfo(DTYPES[kind], tuple(shape), begin, begin + length)
    elif place and not outside:
        slot = TensorInfo(DTYPES[kind], tuple(shape), place.begin, place.end)
    else:
        return
    if slot.end - slot.begin != size:
        told = f"constant {name[:MOST_TOLD]!r} claims {DTYPES[kind]} of shape {shape} and {slot.end - slot.begin} bytes"
        raise refusal(walker.where, told)
    graph.constants[name] = Constant(slot, outside.get("location", ""))


def packed(walker: Walker, found: Field) -> list[int]:
    """Return the numbers that lie packed in a field."""
    numbers, at = list[int](), found.begin
    while at < found.end:
        value, at = walker.number(at)
        numbers.append(value)
    return numbers


def refusal(where: str, reason: str) -> SourceError:
    """Return the error for a file that is not what it says."""
    remedy = "Download it again, or ask its publisher for a whole one."
    return SourceError(f"This ONNX file cannot be trusted: {reason}.", where=where, remedy=remedy)
