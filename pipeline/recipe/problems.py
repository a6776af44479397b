"""What is wrong with a recipe: one `Problem` a mistake, all of them in one `InvalidRecipe`."""

from __future__ import annotations

import difflib
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_WORD = 64  # difflib takes quadratic time, and no word of ours is near to something longer
WIDEST_EXCERPT = 110  # columns of an excerpt, so that a long line does not wrap and lose its caret
GUTTER = 8  # columns before an excerpt's line: five for the number, then " | "


@dataclass(frozen=True)
class Problem:
    """One mistake in a recipe.

    Attributes:
        file: The recipe as it was named by the caller.
        line: Line of the mistake, from 1; 0 where the file could not be read at all.
        column: First character of the mistake in that line, from 1.
        text: What is wrong, and what to write where no one word says it; one line, no full stop.
        excerpt: The line itself.
        suggestion: The nearest valid word, empty where none is near.
        width: Characters of the line that the mistake covers.
    """

    rule: ClassVar[str] = "recipe"
    level: ClassVar[Literal["error"]] = "error"

    file: str
    line: int
    column: int
    text: str
    excerpt: str = ""
    suggestion: str = ""
    width: int = 1

    @property
    def message(self) -> str:
        """The text with the suggestion, in one line; what cannot be printed of the recipe's words is spelled out."""
        told = f"{self.text}; did you mean '{self.suggestion}'?" if self.suggestion else self.text
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in told)

    def __str__(self) -> str:
        """Return the problem as people read it: place, message, then the line with carets under the mistake."""
        if not self.line:
            return f"{self.file}: {self.message}"
        head = f"{self.file}:{self.line}:{self.column}: {self.message}"
        if not self.excerpt.strip():
            return head
        before, marked, after = self._window()
        carets = " " * (GUTTER + _columns(before)) + "^" * max(1, _columns(marked))
        return f"{head}\n{self.line:>{GUTTER - 3}} | {before}{marked}{after}\n{carets}"

    def _window(self) -> tuple[str, str, str]:
        """Split the excerpt before, at and after the mistake, clipped to what fits on a screen."""
        line = "".join(char if char.isprintable() else " " for char in self.excerpt)
        start = self.column - 1
        first = max(0, start - WIDEST_EXCERPT // 2) if len(line) > WIDEST_EXCERPT else 0
        last = min(len(line), first + WIDEST_EXCERPT)
        end = min(start + self.width, last)
        return ("…" if first else "") + line[first:start], line[start:end], line[end:last] + "…" * (last < len(line))


class InvalidRecipe(RecipeError):  # noqa: N818 - the name says what the caller has, as the design spells it
    """A recipe with problems: all of them, in the order of the file, and then those of the files that it includes.

    Args:
        problems: At least one.
        file: The recipe; that of the first problem where it is not said.
    """

    def __init__(self, problems: Iterable[Problem], file: str = "") -> None:
        found = list(problems)
        file = file or found[0].file
        self.problems = tuple(sorted(found, key=lambda one: (one.file != file, one.file, one.line, one.column)))
        count = "one problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        remedy = f"Correct the recipe, then run `publish check {file}`."
        super().__init__(f"The recipe has {count}.", where=file, remedy=remedy)

    def __str__(self) -> str:
        """Return every problem as people read it, then how many there are and what to do."""
        return "\n".join([*map(str, self.problems), super().__str__()])


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the valid word that is nearest to a wrong one, or an empty string where none is near."""
    if len(word) > LONGEST_WORD:
        return ""
    known = {valid.lower(): valid for valid in sorted(words)}
    found = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return known[found[0]] if found else ""


def unknown(kind: str, word: str, words: Iterable[str]) -> tuple[str, str]:
    """Return what to say of a word that does not exist, and the nearest one that does."""
    valid = list(words)
    meant = nearest(word, valid)
    return f"unknown {kind} {word!r}" + ("" if meant else f"; write {listed(valid)}"), meant


def listed(words: Iterable[str], last: str = "or") -> str:
    """Return words as a sentence has them: ``a, b or c``."""
    names = [str(word) for word in words]
    return f" {last} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part) if names else "none"


def _columns(text: str) -> int:
    """Count the columns a terminal gives to a text: East Asian characters take two, combining ones none."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(bool(unicodedata.combining(char)) for char in text)
