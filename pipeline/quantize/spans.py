"""Weight files cut into spans: runs of bytes that hold whole pieces of tensors, and what every result takes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from math import lcm, prod
from pathlib import Path
from typing import Any

from pipeline.errors import SourceError
from pipeline.files import ListedFile
from pipeline.kernels.packing import Part
from pipeline.quantize.component_writer import ComponentWriter, TensorTask
from pipeline.source.disk import BLOCK, LocalFile, Opened
from pipeline.source.safetensors import DTYPE_SIZES, FLOATS, TensorInfo

Stamp = tuple[int, ...]
"""What tells that a file is still the one that was opened; empty where its place vouches for it by a digest alone."""


@dataclass(frozen=True)
class WeightFile:
    """One safetensors file of the source.

    Attributes:
        name: Its path in the source.
        slots: Its tensors, in the order of the file, as its checked header places them.
        listed: Its size, and the digest by which its place vouches for it, where it does.
        where: How it is named in messages.
        open: Opens it for one reading.
        stamp: Tells whether it is still the same.
        stored: Its digest when a download proved it to be the listed one, if that is where it comes from.
    """

    name: str
    slots: Mapping[str, TensorInfo]
    listed: ListedFile
    where: str
    open: Callable[[], Opened]
    stamp: Callable[[], Stamp]
    stored: ListedFile | None = None


def local_file(
    path: Path,
    name: str,
    slots: Mapping[str, TensorInfo],
    listed: ListedFile,
    where: str = "",
    stored: ListedFile | None = None,
) -> WeightFile:
    """Return a file of this machine as the stream reads it."""

    def stamp() -> Stamp:
        now = path.stat()
        return now.st_size, now.st_mtime_ns, now.st_ino

    return WeightFile(name, slots, listed, where or str(path), partial(LocalFile, path), stamp, stored)


@dataclass(frozen=True)
class Segment:
    """A run of values of one tensor; ``last`` where it ends the tensor, and ``takes`` by job, None where unwanted."""

    name: str
    slot: TensorInfo
    first: int
    count: int
    last: bool
    takes: tuple[TensorTask | None, ...]

    @property
    def begin(self) -> int:
        """Where it begins in the file."""
        return self.slot.begin + self.first * DTYPE_SIZES[self.slot.dtype]

    @property
    def end(self) -> int:
        """Where it ends in the file."""
        return self.begin + self.count * DTYPE_SIZES[self.slot.dtype]


def segments_of(file: WeightFile, makings: Sequence[ComponentWriter]) -> Iterator[Segment]:
    """Cut the tensors of a file where all results can be cut: at blocks, groups and rows."""
    for name, slot in file.slots.items():
        takes = tuple(making.take(name, slot) if making.wants(name) else None for making in makings)
        values, unit = prod(slot.shape), lcm(*(take.unit for take in takes if take))
        most = max(BLOCK // DTYPE_SIZES[slot.dtype] // unit, 1) * unit
        for first in range(0, max(values, 1), most):
            count = min(most, values - first)
            yield Segment(name, slot, first, count, first + count == values, takes)


def spans_of(file: WeightFile, makings: Sequence[ComponentWriter]) -> Iterator[list[Segment]]:
    """Gather segments to runs of about a block of bytes."""
    span: list[Segment] = []
    for segment in segments_of(file, makings):
        if span and segment.end - span[0].begin > BLOCK:
            yield span
            span = []
        span.append(segment)
    if span:
        yield span


def pack(span: Sequence[Segment], content: memoryview, where: str) -> list[list[list[Part]]]:
    """Turn a span into what each result takes of it: by job, by segment, the parts."""
    values = [values_of(segment, content[segment.begin - span[0].begin :], where) for segment in span]
    jobs = range(len(span[0].takes))
    return [
        [
            take.pack(segment.first, held) if (take := segment.takes[job]) else []
            for segment, held in zip(span, values, strict=True)
        ]
        for job in jobs
    ]


def write(span: Sequence[Segment], packed: Future[list[list[list[Part]]]], job: int) -> None:
    """Write what one result takes of a span."""
    for segment, parts in zip(span, packed.result()[job], strict=True):
        if take := segment.takes[job]:
            take.write(parts, last=segment.last)


def values_of(segment: Segment, content: memoryview, where: str) -> Any:
    """Return the values of a segment as an array of what they are stored as; bytes where that is no float.

    Raises:
        SourceError: A value is NaN or infinite: every scheme would spread it over a whole block or row.
    """
    import numpy as np

    from pipeline.kernels.cast import VALUES, non_finite

    dtype = segment.slot.dtype
    if not any(segment.takes):
        return None
    held = np.frombuffer(content[: segment.end - segment.begin], VALUES[dtype] if dtype in FLOATS else np.uint8)
    held = held if held.flags.aligned else held.copy()
    if dtype in FLOATS and (bad := non_finite(held, dtype)):
        raise SourceError(
            f"Tensor {segment.name!r} holds NaN or Inf in at least {bad} of its values, "
            "which would ruin whole blocks or rows.",
            where=where,
            remedy="Ask the source's publisher to repair it, or pin a commit from before.",
        )
    return held
