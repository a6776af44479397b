"""Writes one file of a result while its tensors are made, and knows its digest when the last byte is on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final

from pipeline.errors import QuantizationError
from pipeline.files import BuiltFile
from pipeline.quantize.formats import FileFormat
from pipeline.quantize.formats.layout import FileLayout
from pipeline.source.disk import Appender
from pipeline.source.safetensors import TensorInfo

LATE_ROOM: Final = 512  # header bytes kept for a tensor whose length only its content tells
METADATA_ROOM: Final = 1024  # header bytes kept for metadata beside the entries


class Writer:
    """One file of weights.

    Tensors that are not ragged come in the order in which they were given, each from its first byte to its last,
    and go to the disk as they come. The others are written to their places behind, which are read once more for the
    file's digest. The header is final before the first tensor where all lengths are known; otherwise room is kept for
    it, and the whole file is read once more.

    Args:
        path: The file to write.
        form: Its format.
        placed: Where its tensors lie in it.
        metadata: The header's metadata; None where only `finish` knows it.
        room: Bytes of the header to keep for metadata that is not known yet.
        writing: Runs one write at a time.
    """

    def __init__(
        self,
        path: Path,
        form: FileFormat,
        placed: FileLayout,
        metadata: Mapping[str, Any] | None,
        room: int,
        writing: Executor,
    ) -> None:
        self.path = path
        self._form = form
        self._placed = placed
        self._left = {name: slot.end - slot.begin for name, slot in self._placed.slots.items()}
        self._late: dict[str, bytes] = {}
        self._metadata = metadata
        self._known = metadata is not None and not self._placed.late
        header = form.header(self._placed.slots, metadata or {})
        spare = 0 if self._known else len(self._placed.late) * LATE_ROOM + METADATA_ROOM + room
        self._start = form.start(len(header) + spare)
        self._file = Appender(path, writing)
        self._file.append(memoryview(form.prefix(header if self._known else b"", self._start)))

    def put(self, name: str, offset: int, content: memoryview) -> None:
        """Write a part of a tensor.

        Args:
            name: The tensor's name.
            offset: The byte of the tensor where the part begins.
            content: Bytes.

        Raises:
            QuantizationError: The tensor is not what was planned for this file.
            CannotHereError: The disk is full.
        """
        if name in self._placed.late and name not in self._late:
            self._late[name] = bytes(content)
            return
        left = self._left.get(name, 0)
        if len(content) > left:
            planned = f"{left} were planned" if name in self._left else "no such tensor was planned"
            raise QuantizationError(f"{name} has {len(content)} bytes more, {planned}.", where=str(self.path))
        self._left[name] = left - len(content)
        slot = self._placed.slots[name]
        if slot.begin >= self._placed.ragged:
            self._file.put(self._start + slot.begin + offset, content)
        elif 0 <= (hole := self._start + slot.begin + offset - self._file.size) < self._form.ALIGNMENT:
            self._file.append(memoryview(bytes(hole)))
            self._file.append(content)
        else:
            raise QuantizationError(f"{name} came out of its order.", where=str(self.path))

    def finish(self, metadata: Mapping[str, Any]) -> BuiltFile:
        """See the file on the disk.

        Args:
            metadata: The header's metadata.

        Returns:
            Size and digest of the file.

        Raises:
            QuantizationError: A tensor never came whole.
            CannotHereError: The disk is full.
        """
        missing = [name for name, left in self._left.items() if left]
        missing += [name for name in self._placed.late if name not in self._late]
        if missing:
            raise QuantizationError(f"{missing[0]} was never written whole.", where=str(self.path))
        self._file.append(memoryview(bytes(self._start + self._placed.ragged - self._file.size)))
        slots, end = dict(self._placed.slots), self._placed.end
        for name in self._placed.late:
            content = self._late[name]
            slots[name] = TensorInfo("U8", (len(content),), end, end + len(content))
            self._file.put(self._start + end, memoryview(content))
            end += len(content)
        head = b"" if self._known else self._form.prefix(self._form.header(slots, metadata), self._start)
        return self._file.finish(self._start + end, head)

    def close(self) -> None:
        """Let go of a file that is not finished."""
        self._file.close()
