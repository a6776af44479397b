"""Why a text is no YAML, in the words of someone who looks at the file and not at a scanner."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.recipe.nodes import Page, Place

if TYPE_CHECKING:
    from ruamel.yaml.error import MarkedYAMLError, StreamMark

_EXPLAINED = [  # what the scanner says, what is wrong, and whether that stands where it began or where it gave up
    (r"could not find expected ':'", "this line is no 'key: value'; its ':' is missing", True),
    (r"found unexpected end of stream", "this quote is never closed", True),
    (
        r"expected <block end>, but found '(<scalar>|\{|\[)'",
        "the text goes on behind a closing mark; quote all of it",
        False,
    ),
    (r"expected <block end>, but found", "this line is indented unlike its neighbours", False),
    (r"found character '(.)' that cannot start any token", "text that begins with '{0}' needs quotes", False),
    (r"expected ',' or '([]}])'", "a ',' or '{0}' is missing here", False),
    (r"(?:block )?sequence entries are not allowed", "a list item does not fit here; start it on its own line", False),
]


def report_syntax(page: Page, error: MarkedYAMLError) -> None:
    """Report why the text is no YAML: tabs in the indentation, each of them, or what the scanner stumbled over."""
    tabs = [(number, line) for number, line in enumerate(page.lines, 1) if re.match(r" *\t\s*[^\s#]", line)]
    for number, line in tabs:
        page.report(Place(number, line.index("\t") + 1), "a tab in the indentation; YAML is indented with spaces")
    if not tabs:
        page.report(*_explain(page, error))


def _explain(page: Page, error: MarkedYAMLError) -> tuple[Place, str]:
    said = str(error.problem or error.context or "unreadable")
    noticed = error.problem_mark or error.context_mark
    begun = error.context_mark or noticed
    if said.startswith("mapping values are not allowed"):
        return _explain_colon(page, noticed)
    if said.startswith("expected ',' or") and begun.line < noticed.line:
        return _visible(page, begun), f"this '{page.lines[begun.line][begun.column]}' is never closed"
    for pattern, text, at_its_start in _EXPLAINED:
        if found := re.match(pattern, said):
            return _visible(page, begun if at_its_start else noticed), text.format(*found.groups())
    return _visible(page, noticed), f"this is no YAML: {said}"


def _explain_colon(page: Page, mark: StreamMark) -> tuple[Place, str]:
    """Explain a ':' too many: the second in its line, or the first in a line that YAML takes for text going on."""
    before = page.lines[mark.line][: mark.column]
    if ": " in before:
        return _visible(page, mark), "a second ':' in one line; quote the text that has it"
    indent = len(before) - len(before.lstrip())
    place = Place(mark.line + 1, indent + 1, mark.column - indent)
    return place, "this line is indented unlike its neighbours, or the line before it lacks its ':'"


def _visible(page: Page, mark: StreamMark) -> Place:
    """Return a mark's place, or the end of the last line with text where the mark stands behind it."""
    line, column = mark.line, mark.column
    while line > 0 and (line >= len(page.lines) or not page.lines[line].strip()):
        line -= 1
        column = max(0, len(page.lines[line].rstrip()) - 1) if line < len(page.lines) else 0
    return Place(line + 1, column + 1)
