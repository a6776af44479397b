"""GitHub as main's own scripts use it, and how they read what code of somebody else left behind: as data.

What was left may be anything, so it is read by size, type and pattern, and whatever is words of somebody is shown where
it is neither HTML nor a mention. Needs Python alone.
"""

from __future__ import annotations

import json
import os
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

Some = TypeVar("Some")
OURS: Final = "github-actions[bot]"  # who writes with the token of a workflow


class UntrustedError(Exception):
    """Something that what we run would not have left."""


def only(value: Any, keys: set[str]) -> dict[str, Any]:
    """Return a mapping with exactly these keys."""
    if not isinstance(value, dict) or value.keys() != keys:
        raise UntrustedError(f"not {', '.join(sorted(keys))}")
    return value


def several(value: Any, read_one: Callable[[Any], Some], most: int) -> tuple[Some, ...]:
    """Return a list of no more than so many."""
    if not isinstance(value, list) or len(value) > most:
        raise UntrustedError(f"no list of at most {most}")
    return tuple(read_one(one) for one in value)


def matching(value: Any, pattern: re.Pattern[str]) -> str:
    """Return a text that is wholly of a pattern."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise UntrustedError(f"not {pattern.pattern}")
    return value


def words(value: Any, most: int) -> str:
    """Return somebody's text, which is to be shown by `quoted` only."""
    if not isinstance(value, str) or len(value) > most:
        raise UntrustedError(f"no text of at most {most} characters")
    return value


def quoted(text: str) -> str:
    """Return somebody's text as a block of code, which no text of it ends."""
    fence = "`" * (max([2, *(len(run) for run in re.findall("`+", text))]) + 1)
    plain = "".join(sign if sign == "\n" or sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    return f"{fence}text\n{plain}\n{fence}"


@dataclass(frozen=True)
class GitHub:
    """The repository of the workflow, as its token may use it."""

    api: str
    repository: str
    token: str

    def ask(self, method: str, path: str, content: Any = None, **query: str) -> Any:
        """Return the answer to one request."""
        address = f"{self.api}/repos/{self.repository}{path}{'?' + urlencode(query) if query else ''}"
        request = urllib.request.Request(  # noqa: S310  GitHub says where its API is
            address,
            None if content is None else json.dumps(content).encode(),
            {"Authorization": f"Bearer {self.token}", "Accept": "application/vnd.github+json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read() or "null")

    @classmethod
    def of_workflow(cls) -> GitHub:
        """Return it as the environment of a workflow says."""
        return cls(*(os.environ[name] for name in ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN")))

    def all(self, path: str, **query: str) -> Iterator[Any]:
        """Yield what is listed, page by page."""
        page = 1
        while found := self.ask("GET", path, **query, per_page="100", page=str(page)):
            yield from found
            page += 1
