"""Two sets of weight files compared tensor by tensor, in constant memory: what differs, in how many elements.

A file that is neither safetensors nor GGUF, such as a graph of ONNX, counts as one tensor of bytes under its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

from pydantic import BaseModel, ConfigDict

from pipeline.source import gguf
from pipeline.source.safetensors import DTYPE_SIZES, TensorInfo, parse_header

BLOCK: Final = 8 << 20  # bytes compared at a time; a multiple of every element's size

Pieces = Callable[[int, int], Iterator[bytes]]
"""Yields the bytes of a range of a file in order, in pieces of any size."""


@dataclass(frozen=True)
class Weights:
    """A file of weights somewhere.

    Attributes:
        component: Whose weights they are; two components may have tensors of one name.
        where: How it is named in messages.
        size: Its size in bytes.
        pieces: Reads ranges of it.
    """

    component: str
    where: str
    size: int
    pieces: Pieces

    def slots(self) -> dict[str, TensorInfo]:
        """Return its tensors, or the whole file as one.

        Raises:
            SourceError: Its header lies.
        """

        def read(at: int, length: int) -> bytes:
            return b"".join(self.pieces(at, at + length))

        if self.where.endswith(".gguf"):
            return gguf.parse_header(read, self.size, self.where).tensors
        if not self.where.endswith(".safetensors"):
            return {self.where.rpartition("/")[2]: TensorInfo("U8", (self.size,), 0, self.size)}
        return parse_header(read, self.size, self.where)


class Comparison(BaseModel):
    """What two sets of files have in common.

    Attributes:
        identical: How many tensors have one dtype, shape and content.
        elements: For tensors of one dtype and shape, how many elements differ, where some do.
        headers: For tensors of another dtype or shape, both of them in words.
        missing: Tensors that only the first set has.
        surplus: Tensors that only the second set has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    identical: int
    elements: dict[str, int]
    headers: dict[str, str]
    missing: tuple[str, ...]
    surplus: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.elements or self.headers or self.missing or self.surplus)

    @property
    def first(self) -> str:
        """The first difference in words."""
        if self.missing or self.surplus:
            name, side = (self.missing[0], "first") if self.missing else (self.surplus[0], "second")
            return f"only the {side} has the tensor {name}"
        if self.headers:
            name, both = min(self.headers.items())
            return f"the tensor {name} is {both}"
        name, count = min(self.elements.items())
        return f"{count} elements of the tensor {name} differ"


def compare(first: list[Weights], second: list[Weights], heard: Callable[[str, int], None]) -> Comparison:
    """Compare two sets of files.

    Args:
        first: The one.
        second: The other.
        heard: Hears the name of each tensor and its bytes when it was compared.

    Raises:
        SourceError: A header lies.
    """
    ours, theirs = by_name(first), by_name(second)
    elements, headers, identical = {}, {}, 0
    for name in sorted(ours.keys() & theirs.keys()):
        (one, at), (other, there) = ours[name], theirs[name]
        if at.header != there.header:
            headers[name] = f"{described(at)} and {described(there)}"
        elif count := differing(one, at, other, there):
            elements[name] = count
        else:
            identical += 1
        heard(name, at.end - at.begin)
    missing, surplus = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    return Comparison(
        identical=identical, elements=elements, headers=headers, missing=tuple(missing), surplus=tuple(surplus)
    )


def by_name(files: list[Weights]) -> Mapping[str, tuple[Weights, TensorInfo]]:
    """Return every tensor of some files with the file that has it."""
    return {f"{file.component}/{name}": (file, slot) for file in files for name, slot in file.slots().items()}


def described(slot: TensorInfo) -> str:
    """Return dtype and shape in words."""
    return f"{slot.dtype} of shape {list(slot.shape)}"


def differing(one: Weights, at: TensorInfo, other: Weights, there: TensorInfo) -> int:
    """Return in how many elements two tensors of one dtype and shape differ bit for bit; of blocks, bytes."""
    import numpy as np

    width = (at.end - at.begin) // max(prod(at.shape), 1) if at.dtype in DTYPE_SIZES else 1
    count = 0
    pairs = zip(blocks(one.pieces(at.begin, at.end)), blocks(other.pieces(there.begin, there.end)), strict=True)
    for mine, yours in pairs:
        if mine != yours:
            left, right = (np.frombuffer(block, np.uint8).reshape(-1, width) for block in (mine, yours))
            count += int((left != right).any(axis=1).sum())
    return count


def blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield bytes again in blocks of one size, the last one smaller."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= BLOCK:
            yield bytes(waiting[:BLOCK])
            del waiting[:BLOCK]
    if waiting:
        yield bytes(waiting)
