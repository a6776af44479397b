"""Which rows of a dataset become prompts: those that say something new, all of them or a sample."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import islice
from typing import Any

from pipeline.recipe.prompts import ENDING, LARGEST
from pipeline.recipe.schema import MOST_PROMPTS, DatasetPrompts
from pipeline.worker.child import WorkerError


@dataclass(frozen=True)
class File:
    """A picture or a sound in a column: its bytes, and the ending of the name that it has there, if any."""

    content: bytes
    suffix: str

    @cached_property
    def sha256(self) -> str:
        """The digest of its bytes as 64 hex digits."""
        return sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Row:
    """A row: its number from 0, its text, its label where one is asked for, and its further files by their roles."""

    number: int
    text: str
    label: str | None
    files: Mapping[str, File]

    @cached_property
    def digest(self) -> bytes:
        """What rows that ask the same have in common."""
        seen = sha256(self.text.encode())
        for role, file in sorted(self.files.items()):
            seen.update(f"\0{role}\0{file.sha256}".encode())
        return seen.digest()


class Texts:
    """The rows that no earlier row repeats, counted while they are read.

    A prompt that is there twice would make the same images again, and the bounds of the verdict, which are drawn from
    whole prompts, narrower than what was seen. A file's author is told of it; a dataset has other authors.
    """

    def __init__(self, asked: DatasetPrompts, columns: Iterable[Mapping[str, Any]], *, exact: bool) -> None:
        self.asked = asked
        self.exact = exact
        self.columns = columns
        self.rows = 0
        self.seen: set[bytes] = set()

    def __iter__(self) -> Iterator[Row]:
        asked = self.asked
        for number, values in enumerate(self.columns):
            value = values.get(asked.label) if asked.label else None
            unknown = value is None and (self.exact or not asked.label)  # of what is exact, nothing may be said
            label = None if unknown else as_text(number, asked.label or "", value)
            files = {role: as_file(number, column, values.get(column)) for role, column in asked.files.items()}
            row = Row(number, as_text(number, asked.column, values.get(asked.column)), label, files)
            self.rows += 1
            if row.digest not in self.seen:
                self.seen.add(row.digest)
                yield row


def as_text(number: int, column: str, value: Any) -> str:
    """Return a value of a column of texts; nothing is the empty text.

    Raises:
        WorkerError: It is something else.
    """
    if value is None or isinstance(value, str):
        return value or ""
    what = f"The column {column!r} has no texts: row {number} has {type(value).__name__} {str(value)[:40]!r}."
    raise WorkerError("recipe", what, "Choose a column of texts.")


def as_file(number: int, column: str, value: Any) -> File:
    """Return a value of a column of pictures or sounds; nothing is the empty file.

    Raises:
        WorkerError: It is something else, or names a file that is not in the table.
    """
    inner = value if isinstance(value, dict) else {"bytes": value}
    content, name = inner.get("bytes"), str(inner.get("path") or "")
    if isinstance(content, bytes) or (content is None and not name and inner.keys() <= {"bytes", "path"}):
        ending = ENDING.search(name)
        return File(content or b"", ending[0].lower() if ending else "")
    what = f"The column {column!r} has no files: row {number} has {type(value).__name__} {str(value)[:40]!r}."
    raise WorkerError("recipe", what, "Choose a column whose table has the bytes of pictures or sounds.")


def choose(asked: DatasetPrompts, texts: Iterable[Row]) -> list[Row]:
    """Return all rows, or as many as are asked for: those whose number and the seed have the lowest digests.

    So a sample depends on nothing but the recipe: no generator of random numbers, and no version of anything.
    """
    if asked.sample is None:
        chosen = list(islice(texts, MOST_PROMPTS + 1))
        if len(chosen) > MOST_PROMPTS:
            what = f"There are more than {MOST_PROMPTS} prompts, each to be drawn with every seed."
            raise WorkerError("recipe", what, "Say with 'sample:' how many are chosen.")
        return chosen
    lots = ((sha256(f"{asked.seed}:{row.number}".encode()).digest(), row.number, row) for row in texts)
    lowest = [row for *_, row in heapq.nsmallest(asked.sample, lots)]
    if len(lowest) < asked.sample:
        what = f"A sample of {asked.sample} is asked for, and there are {len(lowest)} different prompts."
        raise WorkerError("recipe", what, f"Write a 'sample:' of at most {len(lowest)}.")
    return sorted(lowest, key=lambda row: row.number)


def refuse_unfit(asked: DatasetPrompts, chosen: list[Row], *, exact: bool) -> None:
    """Refuse texts and labels that are empty, and more text than a file of prompts may have.

    An ``exact`` label is all that an answer says, which may be nothing.
    """
    other = "Choose another column" + (", or another 'seed:'." if asked.sample else ", or a 'sample:' without it.")
    for row in chosen:
        files = ((asked.files[role], file.content) for role, file in row.files.items())
        label = None if exact and row.label == "" else row.label
        for column, value in ((asked.column, row.text), (asked.label, label), *files):
            if value is not None and not value.strip():
                raise WorkerError("recipe", f"The column {column!r} of row {row.number} is empty.", other)
    if sum(len(row.text) for row in chosen) > LARGEST:
        raise WorkerError("recipe", f"The prompts are longer than {LARGEST >> 20} MiB.", other)
