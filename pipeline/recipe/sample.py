"""Which rows of a dataset become prompts: those that say something new, all of them or a sample."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import islice
from typing import Any

from pipeline.recipe.prompts import LARGEST
from pipeline.recipe.schema import MOST_PROMPTS, DatasetPrompts
from pipeline.worker.oneshot import WorkerError

Row = tuple[int, str, str | None]
"""A row's number from 0, its text, and its label where one is asked for."""


class Texts:
    """The rows that no earlier row repeats, counted while they are read.

    A prompt that is there twice would make the same images again, and the bounds of the verdict, which are drawn from
    whole prompts, narrower than what was seen. A file's author is told of it; a dataset has other authors.
    """

    def __init__(self, asked: DatasetPrompts, columns: Iterable[tuple[Any, Any]]) -> None:
        self.asked = asked
        self.columns = columns
        self.rows = 0
        self.seen: set[bytes] = set()

    def __iter__(self) -> Iterator[Row]:
        for number, (text, label) in enumerate(self.columns):
            row = number, as_text(number, self.asked.column, text), as_text(number, self.asked.label or "", label)
            self.rows += 1
            digest = sha256(row[1].encode()).digest()
            if digest not in self.seen:
                self.seen.add(digest)
                yield row[0], row[1], row[2] if self.asked.label else None


def as_text(number: int, column: str, value: Any) -> str:
    """Return a value of a column of texts; nothing is the empty text.

    Raises:
        WorkerError: It is something else.
    """
    if value is None or isinstance(value, str):
        return value or ""
    what = f"The column {column!r} has no texts: row {number} has {type(value).__name__} {str(value)[:40]!r}."
    raise WorkerError("recipe", what, "Choose a column of texts.")


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
    lowest = heapq.nsmallest(asked.sample, texts, key=lambda row: sha256(f"{asked.seed}:{row[0]}".encode()).digest())
    if len(lowest) < asked.sample:
        what = f"A sample of {asked.sample} is asked for, and there are {len(lowest)} different prompts."
        raise WorkerError("recipe", what, f"Write a 'sample:' of at most {len(lowest)}.")
    return sorted(lowest)


def refuse_unfit(asked: DatasetPrompts, chosen: list[Row]) -> None:
    """Refuse texts and labels that are empty, and more text than a file of prompts may have."""
    other = "Choose another column" + (", or another 'seed:'." if asked.sample else ", or a 'sample:' without it.")
    for number, text, label in chosen:
        for column, value in ((asked.column, text), (asked.label, label)):
            if value is not None and not value.strip():
                raise WorkerError("recipe", f"The column {column!r} of row {number} is empty.", other)
    if sum(len(text) for _, text, _ in chosen) > LARGEST:
        raise WorkerError("recipe", f"The prompts are longer than {LARGEST >> 20} MiB.", other)
