"""A base in other names: what its tensors are called in the single files of its family, whose rows lie otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np

from pipeline.errors import PublishError
from pipeline.lint.pass_over import Counterpart
from pipeline.lint.subject import NUMPY, Content, Subject, Tensor


class Rows(Protocol):
    """Rows of a tensor of the base; a tensor without axes is one row."""

    @property
    def tensor(self) -> str:
        """The tensor's name."""

    @property
    def start(self) -> int:
        """The first row."""

    @property
    def stop(self) -> int:
        """The row behind the last one."""

    def sources(self, begin: int, end: int, width: int) -> Iterator[tuple[int, int]]:
        """Yield the places of the tensor that the file has between two of its own, counted from where these begin."""


class Made(Protocol):
    """A tensor of a file of the family; `pipeline.backends.oracle.single_file.FileTensor` is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def rows(self) -> Sequence[Rows]:
        """What it is made of, one after the other."""

    @property
    def content(self) -> bytes:
        """The float32 that it holds instead, where the config tells them and no tensor of the base has them."""


Spelled = Mapping[str, Made]
"""Tensors of a file of the family by name."""

Spell = Callable[[Subject], Spelled]
"""Says how a model in a library's names is called in a file of its family; raises `PublishError` where it cannot."""


@dataclass(frozen=True)
class Bases:
    """The models that others may have been made of.

    Attributes:
        subjects: As they lie there.
        spell: Says what they are called in files of their family; None where nobody is asked.
    """

    subjects: list[Subject]
    spell: Spell | None = None

    @cached_property
    def respelled(self) -> tuple[list[Subject], str]:
        """Those of a class that is told in the names of their families, and why there is none of the first without."""
        found, reason = list[Subject](), ""
        for subject in self.subjects if self.spell else ():
            if self.spell and (subject.config.get("_class_name") or subject.config.get("architectures")):
                try:
                    found.append(respelled(subject, self.spell(subject)))
                except PublishError as error:
                    reason = reason or error.what
        return found, reason


def respelled(base: Subject, names: Spelled) -> Subject:
    """Return a base with other tensors, each made of rows of its own, unless these are of several dtypes.

    Each lies in a file of its own name, which is read where its rows lie.
    """
    tensors, pieces = dict[str, Tensor](), dict[str, list[tuple[Tensor, Rows]]]()
    for name, made in names.items():
        if made.content:
            tensors[name] = Tensor(name, "F32", made.shape, name, 0, len(made.content))
            continue
        parts = [(base.tensors[rows.tensor], rows) for rows in made.rows if rows.tensor in base.tensors]
        dtypes = {tensor.dtype for tensor, _ in parts}
        if len(parts) == len(made.rows) and len(dtypes) == 1:
            pieces[name] = parts
            size = sum((rows.stop - rows.start) * row_size(part) for part, rows in parts)
            tensors[name] = Tensor(name, dtypes.pop(), made.shape, name, 0, size)

    def ranges(file: str, offset: int, length: int) -> Iterator[tuple[Tensor, int, int]]:
        sizes = ((rows.stop - rows.start) * row_size(tensor) for tensor, rows in pieces[file])
        for (tensor, rows), (start, stop) in zip(pieces[file], pairwise(accumulate(sizes, initial=0)), strict=True):
            first, last = max(offset, start), min(offset + length, stop)
            if first < last:
                for begin, end in rows.sources(first - start, last - start, row_size(tensor)):
                    yield tensor, begin, end

    def read(file: str, offset: int, length: int) -> bytes:
        if content := names[file].content:
            return content[offset : offset + length]
        return b"".join(base.bytes(*part) for part in ranges(file, offset, length))

    def read_large(file: str, offset: int, length: int, block: memoryview) -> Content:
        parts = [] if names[file].content else list(ranges(file, offset, length))
        return base.large(*parts[0], block=block) if len(parts) == 1 else read(file, offset, length)

    return replace(base, tensors=tensors, read=read, read_large=read_large)


def transposed(base: Subject, tensor: Tensor) -> Counterpart:
    """Return a matrix of a base with its columns as rows, which is in memory until its end was read."""
    if len(tensor.shape) != 2:
        return Counterpart(base, tensor)
    turned = replace(tensor, shape=tensor.shape[::-1], begin=0, end=tensor.end - tensor.begin)
    held = list[bytes]()

    def read(_file: str, offset: int, length: int) -> bytes:
        if not held:
            held.append(np.frombuffer(base.bytes(tensor), NUMPY[tensor.dtype]).reshape(tensor.shape).T.tobytes())
        content = held[0][offset : offset + length]
        if offset + length == turned.end:
            held.clear()
        return content

    def read_large(file: str, offset: int, length: int, _block: memoryview) -> bytes:
        return read(file, offset, length)

    return Counterpart(replace(base, tensors={turned.name: turned}, read=read, read_large=read_large), turned)


def row_size(tensor: Tensor) -> int:
    """Return the bytes of a row."""
    return (tensor.end - tensor.begin) // ((tensor.shape or (1,))[0] or 1)
