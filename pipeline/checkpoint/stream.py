"""Streams a component: each file of the source is read once, forwards, and hashed; every result takes its part of it.

The reader cuts the file into spans, each a run of bytes that holds whole pieces of tensors, and waits when too many of
them are under way. Of each span the source's digest, the packing of all results, and the writing of each result in its
order go on side by side. Memory holds a few spans and what they became, whatever the size of the model or of a tensor;
and no byte of a result depends on which thread was faster.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from math import lcm, prod
from pathlib import Path
from typing import Any, Final

from pipeline.checkpoint.disk import BLOCK, Forward, LocalFile, Opened, memory
from pipeline.checkpoint.making import FLOATS, Job, Made, Making, Take
from pipeline.checkpoint.safetensors import DTYPE_SIZES, Slot
from pipeline.errors import SourceError
from pipeline.files import ListedFile
from pipeline.kernels.packing import Part

Heard = Callable[[str, int], None]
"""Is told the name of a tensor and how many bytes of the source are done with it."""

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
    """

    name: str
    slots: Mapping[str, Slot]
    listed: ListedFile
    where: str
    open: Callable[[], Opened]
    stamp: Callable[[], Stamp]


def local_file(path: Path, name: str, slots: Mapping[str, Slot], listed: ListedFile, where: str = "") -> WeightFile:
    """Return a file of this machine as the stream reads it."""

    def stamp() -> Stamp:
        now = path.stat()
        return now.st_size, now.st_mtime_ns, now.st_ino

    return WeightFile(name, slots, listed, where or str(path), partial(LocalFile, path), stamp)


def stream(files: Sequence[WeightFile], jobs: Sequence[Job], heard: Heard) -> list[Made]:
    """Make all results of a component in one reading of its files.

    What an interrupted run finished is not made again, and files that only that needs are not read again.

    Args:
        files: The source's files, in the order of their names.
        jobs: The results.
        heard: Hears of progress.

    Returns:
        What was made, for each job.

    Raises:
        SourceError: A file is broken, changes while it is read, is not what its place lists, or holds NaN or Inf.
        QuantizationError: A scheme cannot take a tensor.
        CannotHereError: The disk is full.
        HubUnavailableError: The source is on a Hub that does not answer.
    """
    keep_freed_memory()
    with ExitStack() as stack:
        crew = stack.enter_context(Crew(len(jobs)))
        makings = [Making(job, writing) for job, writing in zip(jobs, crew.disks, strict=True)]
        for making in makings:
            stack.callback(making.close)
        stack.callback(crew.stop)
        proven: set[str] = set()
        for file in files:
            if not any(making.wants(name) for making in makings for name in file.slots):
                heard("", file.listed.size)
                continue
            digest = read(file, makings, crew, heard)
            proven.update(file.slots)
            for making in makings:
                making.record({file.name: digest}, proven)
    return [making.made for making in makings]


def keep_freed_memory() -> None:
    """Have glibc keep the memory of arrays that are freed.

    By default it gives large ones back to the system at once, which then clears every page again for the next span's:
    that takes several times as long as the packing itself.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold, never = -1, -3, 1 << 30
        mallopt(mmap_threshold, never)
        mallopt(trim_threshold, never)


@dataclass(frozen=True)
class Segment:
    """A run of values of one tensor; ``last`` where it ends the tensor, and ``takes`` by job, None where unwanted."""

    name: str
    slot: Slot
    first: int
    count: int
    last: bool
    takes: tuple[Take | None, ...]

    @property
    def begin(self) -> int:
        """Where it begins in the file."""
        return self.slot.begin + self.first * DTYPE_SIZES[self.slot.dtype]

    @property
    def end(self) -> int:
        """Where it ends in the file."""
        return self.begin + self.count * DTYPE_SIZES[self.slot.dtype]


def segments_of(file: WeightFile, makings: Sequence[Making]) -> Iterator[Segment]:
    """Cut the tensors of a file where all results can be cut: at blocks, groups and rows."""
    for name, slot in file.slots.items():
        takes = tuple(making.take(name, slot) if making.wants(name) else None for making in makings)
        values, unit = prod(slot.shape), lcm(*(take.unit for take in takes if take))
        most = max(BLOCK // DTYPE_SIZES[slot.dtype] // unit, 1) * unit
        for first in range(0, max(values, 1), most):
            count = min(most, values - first)
            yield Segment(name, slot, first, count, first + count == values, takes)


def spans_of(file: WeightFile, makings: Sequence[Making]) -> Iterator[list[Segment]]:
    """Gather segments to runs of about a block of bytes."""
    span: list[Segment] = []
    for segment in segments_of(file, makings):
        if span and segment.end - span[0].begin > BLOCK:
            yield span
            span = []
        span.append(segment)
    if span:
        yield span


def read(file: WeightFile, makings: Sequence[Making], crew: Crew, heard: Heard) -> str:
    """Read one file to its end and give every result its part; return the file's digest.

    Raises:
        SourceError: It is not what its place lists, or it changed.
    """
    stamp = file.stamp()
    digests = [hashlib.sha256()]
    if file.listed.sha256 is None and file.listed.git_sha1 is not None:
        digests.append(hashlib.sha1(b"blob %d\0" % file.listed.size, usedforsecurity=False))
    with closing(file.open()) as opened:
        forward = Forward(opened, file.listed.size, file.where)
        start = min((slot.begin for slot in file.slots.values()), default=file.listed.size)
        crew.send(forward, digests, start, partial(heard, ""))
        for span in spans_of(file, makings):
            size = span[-1].end - span[0].begin
            crew.send(forward, digests, size, partial(heard, span[-1].name), span, file.where)
        crew.settle()
    found = [digest.hexdigest() for digest in digests]
    listed = [file.listed.sha256 or found[0], file.listed.git_sha1][: len(found)]
    if file.stamp() != stamp or found != listed:
        raise SourceError(
            "It is not the file that its place lists, or it changed while it was read.",
            where=file.where,
            remedy="Nothing made of it was kept. Run again; if it says so again, download the source anew.",
        )
    return str(found[0])


class Crew:
    """The threads of a stream, and the spans that are under way.

    Args:
        jobs: How many results are made.
    """

    SPANS: Final = 3  # under way beside one for each processor: read, hashed, written

    def __init__(self, jobs: int) -> None:
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._hash = ThreadPoolExecutor(1, "hash")
        self._pack = ThreadPoolExecutor(processors, "pack")
        self._write = [ThreadPoolExecutor(1, "write") for _ in range(jobs)]
        self.disks: list[Executor] = [ThreadPoolExecutor(1, "disk") for _ in range(jobs)]
        self._under_way: deque[tuple[memoryview, list[Future[Any]], Callable[[int], None], int]] = deque()
        self._most = processors + self.SPANS
        self._spare: list[memoryview] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End all threads; what has not begun is dropped."""
        for executor in (self._hash, self._pack, *self._write, *self.disks):
            executor.shutdown(wait=False, cancel_futures=True)
        for executor in (self._hash, self._pack, *self._write, *self.disks):
            executor.shutdown(wait=True)

    def send(
        self,
        forward: Forward,
        digests: list[Any],
        size: int,
        heard: Callable[[int], None],
        span: Sequence[Segment] = (),
        where: str = "",
    ) -> None:
        """Read the next bytes of a file and set everyone to work on them."""
        if len(self._under_way) >= self._most:
            self._land()
        block = self._block(Forward.room(size))
        content = forward.take(size, block)
        work: list[Future[Any]] = [self._hash.submit(update, digests, content)]
        if span:
            packed = self._pack.submit(pack, span, content, where)
            work += [executor.submit(write, span, packed, job) for job, executor in enumerate(self._write)]
        self._under_way.append((block, work, heard, size))

    def settle(self) -> None:
        """Wait until everything that is under way is done."""
        while self._under_way:
            self._land()

    def _land(self) -> None:
        block, work, heard, size = self._under_way.popleft()
        for future in work:
            future.result()
        if len(block) == Forward.room(BLOCK):
            self._spare.append(block)
        heard(size)

    def _block(self, room: int) -> memoryview:
        """Return memory for a span; a span larger than a block, of a tensor that cannot be cut, gets its own."""
        if room > Forward.room(BLOCK):
            return memory(room)
        return self._spare.pop() if self._spare else memory(Forward.room(BLOCK))


def update(digests: list[Any], content: memoryview) -> None:
    """Add bytes to digests."""
    for digest in digests:
        digest.update(content)


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
            f"Tensor {segment.name!r} holds NaN or Inf, in {bad} values or more; each would ruin its block or row.",
            where=where,
            remedy="Ask the source's publisher to repair it, or pin a commit from before.",
        )
    return held
