"""Streams a component: each file of the source is read once, forwards, and hashed; every result takes its part of it.

The reader cuts the file into spans, each a run of bytes that holds whole pieces of tensors, and waits when too many of
them are under way. Of each span the source's digest, the packing of all results, and the writing of each result in its
order go on side by side. Memory holds a few spans and what they became, whatever the size of the model or of a tensor;
and no byte of a result depends on which thread was faster.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, Final

from pipeline.errors import SourceError
from pipeline.quantize.component_writer import ComponentWriter, Job, Made
from pipeline.quantize.spans import Segment, WeightFile, pack, spans_of, write
from pipeline.source.disk import BLOCK, Forward, memory
from pipeline.worker.limits import processors

ProgressCallback = Callable[[str, int], None]
"""Is told the name of a tensor and how many bytes of the source are done with it."""


def stream(files: Sequence[WeightFile], jobs: Sequence[Job], heard: ProgressCallback) -> list[Made]:
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
        crew = stack.enter_context(StreamExecutor(len(jobs)))
        makings = [ComponentWriter(job, writing) for job, writing in zip(jobs, crew.disks, strict=True)]
        for making in makings:
            stack.callback(making.close)
        stack.callback(crew.stop)
        proven: set[str] = set()
        pairs = {repeated: other for job in jobs for repeated, other in job.answer.repeated.items()}
        twins = TiedTensorCheck(
            pairs, {name: digest for making in makings for name, digest in making.made.tied.items()}
        )
        for file in files:
            if not any(twins.lacks(name) or any(making.wants(name) for making in makings) for name in file.slots):
                heard("", file.listed.size)
                continue
            digest = read(file, makings, crew, twins, heard)
            proven.update(file.slots)
            tied = {name: twins.known[name] for name in file.slots if name in twins.known}
            for making in makings:
                making.record({file.name: digest}, proven, tied)
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


class DamagedDownloadError(SourceError):
    """A file that was whole when it was downloaded is not any more; whoever keeps it removes it."""


class TiedTensorCheck:
    """Tensors that a model ties to others, which are written for both: they must hold the same.

    Args:
        pairs: The tensors that are not written, with those that are.
        known: The digests of those that an interrupted run read.
    """

    def __init__(self, pairs: Mapping[str, str], known: Mapping[str, str]) -> None:
        self._pairs = pairs
        self._digests: dict[str, Any] = {name: hashlib.sha256() for pair in pairs.items() for name in pair}
        self.known = dict(known)

    def lacks(self, name: str) -> bool:
        """Return whether a tensor still has to be read to be compared."""
        return name in self._digests and name not in self.known

    def update(self, span: Sequence[Segment], content: memoryview) -> None:
        """Add the tensors' bytes, in their order."""
        for segment in span:
            if segment.name in self._digests:
                begin = segment.begin - span[0].begin
                self._digests[segment.name].update(content[begin : begin + segment.end - segment.begin])
                if segment.last:
                    self.known[segment.name] = self._digests[segment.name].hexdigest()

    def compare(self, where: str) -> None:
        """Refuse tensors that were read and differ.

        Raises:
            SourceError: A tensor that would not be written is not the one that it is tied to.
        """
        for name, other in self._pairs.items():
            if self.known.keys() >= {name, other} and self.known[name] != self.known[other]:
                raise SourceError(
                    f"Tensor {name!r} is tied to {other!r} in this model, and the two differ.",
                    where=where,
                    remedy="One of them would be lost; ask the source's publisher which one is meant.",
                )


def read(
    file: WeightFile,
    makings: Sequence[ComponentWriter],
    crew: StreamExecutor,
    twins: TiedTensorCheck,
    heard: ProgressCallback,
) -> dict[str, str]:
    """Read one file to its end and give every result its part; return the file's digest with its kind.

    Raises:
        SourceError: It is not what its place lists, or it changed.
    """
    stamp = file.stamp()
    digest = (file.stored or file.listed).hashing()
    with closing(file.open()) as opened:
        forward = Forward(opened, file.listed.size, file.where)
        start = min((slot.begin for slot in file.slots.values()), default=file.listed.size)
        crew.send(forward, partial(update, digest), start, partial(heard, ""))
        for span in spans_of(file, makings):
            size = span[-1].end - span[0].begin
            hashing = partial(update, digest, twins=twins, span=span)
            crew.send(forward, hashing, size, partial(heard, span[-1].name), span, file.where)
        crew.settle()
    twins.compare(file.where)
    return require_listed(file, digest.hexdigest(), changed=file.stamp() != stamp)


def require_listed(file: WeightFile, found: str, *, changed: bool = False) -> dict[str, str]:
    """Refuse a file that is not what its place lists, or whose download was damaged; return its digest with its kind.

    Args:
        file: The file.
        found: The digest of its bytes.
        changed: Whether it changed while it was read.

    Raises:
        SourceError: It is another one.
    """
    proof = file.stored or file.listed
    if file.stored and found != proof.digest:
        raise DamagedDownloadError(
            "It is no longer what was downloaded: this disk, or somebody, damaged it.",
            where=file.where,
            remedy="Nothing made of it was kept. Run the same command again to download it anew.",
        )
    if changed or found != (proof.digest or found):
        raise SourceError(
            "It is not the file that its place lists, or it changed while it was read.",
            where=file.where,
            remedy="Nothing made of it was kept. Run again; if it says so again, download the source anew.",
        )
    return {file.listed.kind: file.listed.digest or found}


class StreamExecutor:
    """The threads of a stream, and the spans that are under way.

    Args:
        jobs: How many results are made.
    """

    SPANS: Final = 3  # under way beside one for each processor: read, hashed, written

    def __init__(self, jobs: int) -> None:
        self._hash = ThreadPoolExecutor(1, "hash")
        self._pack = ThreadPoolExecutor(processors(), "pack")
        self._write = [ThreadPoolExecutor(1, "write") for _ in range(jobs)]
        self.disks: list[Executor] = [ThreadPoolExecutor(1, "disk") for _ in range(jobs)]
        self._under_way: deque[tuple[memoryview, list[Future[Any]], Callable[[int], None], int]] = deque()
        self._most = processors() + self.SPANS
        self._spare: list[memoryview] = []

    def __enter__(self) -> StreamExecutor:
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
        hashing: Callable[[memoryview], None],
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
        work: list[Future[Any]] = [self._hash.submit(hashing, content)]
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


def update(
    digest: Any, content: memoryview, twins: TiedTensorCheck | None = None, span: Sequence[Segment] = ()
) -> None:
    """Add a span to the digest of its file, and to those of the tensors in it that have twins."""
    digest.update(content)
    if twins is not None:
        twins.update(span, content)
