"""Cards as HTML that holds nothing active, whatever their authors wrote."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it.token import Token

MOST_CHARACTERS = 100_000  # more is not rendered, for a text made to take long takes a second then
_SCHEME = re.compile(r"([^:/?#]*):")
_SAFE_SCHEMES = {"http", "https", "mailto"}
_NO_ANCHOR = re.compile(r"[^\w\- ]")


class _Parser(MarkdownIt):
    """CommonMark with tables, where HTML is text and an address is a web page, a mailbox or a file beside it."""

    def validateLink(self, url: str) -> bool:  # noqa: N802 - the library's name
        scheme = _SCHEME.match(url)
        return scheme is None or scheme[1].lower() in _SAFE_SCHEMES


def rendered(text: str, repository: str, revision: str) -> Markup:
    """Return a text of a repository as HTML; its relative addresses lead to the repository's files.

    Args:
        text: Markdown.
        repository: The path of the repository's page, such as ``/datasets/ns/name``.
        revision: The revision whose files are meant.
    """
    parser = _Parser("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = parser.parse(text[:MOST_CHARACTERS])
    _name_headings(tokens)
    files = f"{repository}/resolve/{quote(revision, safe='')}"
    for token in _all(tokens):
        if token.type == "image":
            token.attrs["src"] = _absolute(str(token.attrs["src"]), files)
        elif token.type == "link_open":
            token.attrs["href"] = _absolute(str(token.attrs["href"]), files)
            token.attrs["rel"] = "nofollow noopener noreferrer"
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704 - the renderer escapes text


def _all(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _all(token.children or ())


def _absolute(address: str, files: str) -> str:
    """Return an address as it is meant on the repository's page; one that leaves the repository leads nowhere."""
    if not address or address[0] in "#/" or _SCHEME.match(address):
        return address
    path, mark, rest = address.partition("#")
    inside = posixpath.normpath(unquote(path.partition("?")[0]))
    return "#" if inside.startswith("..") else f"{files}/{quote(inside)}{mark}{rest}"


def _name_headings(tokens: Sequence[Token]) -> None:
    """Give headings the names by which cards link to them, as GitHub makes them."""
    seen: Counter[str] = Counter()
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            name = _NO_ANCHOR.sub("", inline.content.lower()).strip().replace(" ", "-")
            opening.attrs["id"] = f"{name}-{seen[name]}" if seen[name] else name
            seen[name] += 1
