"""A component as one file in the names of its family: which rows of diffusers' tensors each of its tensors is.

ComfyUI, GGUF and diffusers' ``from_single_file`` read such files. diffusers has only the way from there to its own
names, so the way back is asked of it by experiment, in a process of its own: see `probing`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.backends.oracle.conversion import Question, answered


class Rows(BaseModel):
    """Rows of a tensor of diffusers; a tensor without axes is one row.

    Attributes:
        tensor: The tensor's name.
        start: The first row.
        stop: The row behind the last one.
        parts: Of how many equal parts the file has a row each in turn; of one, all rows keep their order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensor: str
    start: int
    stop: int
    parts: int = 1

    def sources(self, begin: int, end: int, width: int) -> Iterator[tuple[int, int]]:
        """Yield the places of the tensor, from one to before another, whose content the file has there.

        Args:
            begin: The place in the file, counted from where these rows begin; in values or in bytes, as all places.
            end: The place behind the last one.
            width: How much a row holds.
        """
        for first, last, place in self._moved(begin, end, width, self.parts):
            yield self.start * width + place, self.start * width + place + last - first

    def targets(self, begin: int, end: int, width: int) -> Iterator[tuple[int, int, int]]:
        """Yield what stays together of the tensor, from one place to before another, and where in the file it begins.

        Args:
            begin: The place in the tensor.
            end: The place behind the last one.
            width: How much a row holds.
        """
        origin = self.start * width
        for first, last, place in self._moved(
            begin - origin, end - origin, width, (self.stop - self.start) // self.parts
        ):
            yield first + origin, last + origin, place

    def _moved(self, begin: int, end: int, width: int, turns: int) -> Iterator[tuple[int, int, int]]:
        """Yield what stays together, and where it goes, if of every ``turns`` rows each belongs to another part."""
        if self.parts == 1:
            yield begin, end, begin
            return
        others = (self.stop - self.start) // turns
        while begin < end:
            row, within = divmod(begin, width)
            last = min(end, (row + 1) * width)
            yield begin, last, (row % turns * others + row // turns) * width + within
            begin = last


class FileTensor(BaseModel):
    """A tensor of the file: the content of rows, one after the other.

    Attributes:
        shape: Its shape; a matrix has the columns of its rows, and as many rows as they are.
        rows: What it is made of, in its order.
        values: What it holds instead, as float32, where no tensor of the source has it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, ...]
    rows: tuple[Rows, ...]
    values: tuple[float, ...] = ()

    @property
    def content(self) -> bytes:
        """The bytes of its values."""
        return struct.pack(f"<{len(self.values)}f", *self.values)


class SingleFile(BaseModel):
    """A component as one file.

    Attributes:
        tensors: Its tensors by name, each where the library has the first of what makes it up.
        keys: What its header says beside what the backend writes into every one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensors: dict[str, FileTensor]
    keys: dict[str, Any] = {}

    def places(self) -> dict[str, tuple[tuple[Rows, str, int], ...]]:
        """Return where the rows of each tensor of diffusers go, in their order.

        That is the rows, the tensor of the file, and how many rows of diffusers' tensors lie before them in it.
        """
        found: dict[str, list[tuple[Rows, str, int]]] = {}
        for name, tensor in self.tensors.items():
            before = 0
            for rows in tensor.rows:
                found.setdefault(rows.tensor, []).append((rows, name, before))
                before += rows.stop - rows.start
        return {name: tuple(sorted(parts, key=lambda part: part[0].start)) for name, parts in found.items()}


class SingleFileRequest(Question):
    """A component of diffusers that is to be one file in the names of its family.

    Attributes:
        config: The component's ``config.json``.
        shapes: The shape of each of its tensors.
    """

    kind = SingleFile

    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]


def ask_single_file(question: SingleFileRequest, answers: Path, where: str) -> SingleFile:
    """Return how a component lies in a file of its family, from the folder of kept answers where it was asked before.

    Args:
        question: The component.
        answers: The folder that keeps answers by digest.
        where: How the component is named in an error.

    Raises:
        RecipeError: The installed diffusers reads no such file, or it holds what no folder of diffusers tells.
        SourceError: The library has no such class.
        CannotHereError: The library is not installed.
        QuantizationError: From no file that is known of the family does the library come to these tensors.
    """
    file: SingleFile = answered(question, answers, where)
    return file
