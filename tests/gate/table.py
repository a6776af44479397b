"""The rows as a table for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.gate.gate import Row

HEAD = """\
| what | of | verdict | first reason | right | answers alone | ranked by | seen |
| --- | --- | --- | --- | --- | --- | ---: | --- |"""
LONGEST = 150


def table(found: Sequence[Row]) -> str:
    """Return Markdown, in the order of the rows."""
    return "\n".join([HEAD, *(line(one) for one in found)])


def line(one: Row) -> str:
    """Return one row; ``seen`` is half of the interval of each metric with a limit, where that is the question."""
    name = one.name if one.strength in {0, 1} else f"{one.name}, {one.strength:.1%}"
    ranking = "" if one.ranking is None else f"{one.ranking:.3g}"
    seen = ", ".join(f"{metric} ± {half:.2g}" for metric, half in (one.seen or {}).items() if one.strength < 1)
    reason = short(one.reason) if one.verdict != "PASS" else ""
    right = "yes" if one.right else "**no**"
    return f"| {name} | {one.of} | {one.verdict} | {reason} | {right} | {one.answers} | {ranking} | {seen} |"


def short(text: str) -> str:
    """Return a sentence cut to what a cell holds, without what would end the cell or names folders of a machine."""
    plain = re.sub(r"(?<![\w:/.])/\S+/", "DIR/", text).replace("|", "/").replace("\n", " ")
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 3]}..."
