"""The language of faults: one line a rule, which requests it is for and what becomes of them.

    METHOD PATH KIND[=VALUE] [times=N|always] [skip=N] [header=NAME:VALUE ...] [body=TEXT]

METHOD is a method, several as ``GET|HEAD``, or ``*``. PATH is a regular expression that is searched for in the address
behind the origin, quoted as it was sent, with its query. Words are separated by spaces; quotes hold a word together.
A rule leaves the first ``skip`` matching requests alone and is used up after ``times`` more, by default after one. Of
several rules the first one that is due takes the request, so rules for one path act one after the other.
"""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass
from typing import Any, NamedTuple

from localhub.errors import FaultSyntaxError

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "*"}


class Kind(NamedTuple):
    """What a fault takes (in brackets where it may be left out), and what a client meets."""

    takes: str
    means: str


KINDS = {
    "status": Kind("=CODE", "answered with this status, header and body; no work done"),
    "moved": Kind("", "answered with 412, as where the branch has moved"),
    "expired": Kind("", "answered with 403, as by storage where an address has expired"),
    "drop": Kind("", "closed (FIN) without an answer; no work done"),
    "reset": Kind("", "reset (RST) without an answer; no work done"),
    "cut-answer": Kind("[=BYTES]", "closed when so much of the answer's body was sent (or half)"),
    "reset-answer": Kind("[=BYTES]", "reset there"),
    "lost": Kind("", "closed without an answer, with the work done"),
    "hang": Kind("[=SECONDS]", "kept waiting (or for ever), then closed; no work done"),
    "hang-after": Kind("[=SECONDS]", "kept waiting, then closed, with the work done"),
    "slow": Kind("=RATE", "read and answered at so many bytes a second"),
    "flip": Kind("[=OFFSET]", "answered with one wrong bit in this byte of the body (or its middle)"),
    "short": Kind("", "answered with tokens and addresses that have expired already"),
    "ignore-range": Kind("", "answered with the whole in place of a range"),
    "stale": Kind("", "answered as the same GET or HEAD was before the last change"),
}
_FORM = (
    "A RULE is METHOD PATH KIND[=VALUE], then any of times=N|always (1 by default) and skip=N,\n"
    "and with status also header=NAME:VALUE (repeatable) and body=TEXT (a page if it begins with <)."
)
GRAMMAR = "\n".join(
    [
        _FORM,
        "METHOD may be GET|HEAD or *; PATH is a regular expression, searched for in the address.",
        "A request that meets a rule of this KIND is",
        *(f"  {name + kind.takes:<24}{kind.means}" for name, kind in KINDS.items()),
        'Example: --fault "POST /api/models/.*/commit/ status=503 header=Retry-After:1 times=2 skip=1"',
    ]
)


@dataclass(frozen=True)
class Rule:
    """One fault and the requests that it is for.

    Attributes:
        method: A method, several with ``|`` between them, or ``*``.
        path: The regular expression that is searched for in an address.
        kind: One of `KINDS`.
        value: What stands behind the kind's ``=``; None where it was left out.
        times: How many matching requests it takes.
        skip: How many matching requests it leaves alone before.
        headers: Of the answer of a ``status``.
        body: Of the answer of a ``status``; by default the JSON that the Hub would send.
    """

    method: str
    path: str
    kind: str
    value: float | None = None
    times: float = 1
    skip: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""

    @classmethod
    def parse(cls, line: str) -> Rule:
        """Read a rule.

        Raises:
            FaultSyntaxError: The line is not a rule; the remedy says what is.
        """
        try:
            method, path, fault, *options = _words(line)
            re.compile(path)
            kind, _, value = fault.partition("=")
            return cls(method, path, kind, _amount(kind, value), **_options(kind, options))
        except (ValueError, re.error) as error:
            kinds = ", ".join(name + each.takes for name, each in KINDS.items())
            remedy = f"{_FORM.replace(chr(10), ' ')} The kinds are {kinds}."
            raise FaultSyntaxError(f"This is no rule: {error}.", where=f"fault {line!r}", remedy=remedy) from error

    def __str__(self) -> str:
        """Return the part that says what happens, as it would be written."""
        return self.kind if self.value is None else f"{self.kind}={self.value:g}"

    def matches(self, method: str, path: str) -> bool:
        """Say whether a request is one that the rule is for."""
        if self.method != "*" and method not in self.method.split("|"):
            return False
        if self.kind == "stale" and method not in {"GET", "HEAD"}:
            return False
        return re.search(self.path, path) is not None


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""  # regular expressions have backslashes
    words = list(lexer)
    if len(words) < 3:
        raise ValueError("it has less than three words")
    if not set(words[0].split("|")) <= METHODS:
        raise ValueError(f"there is no method {words[0]!r}")
    return words


def _amount(kind: str, value: str) -> float | None:
    """Return what stands behind the kind's ``=``."""
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r}")
    takes = KINDS[kind].takes
    if not value and not takes.startswith("="):
        return None
    if not value or not takes:
        raise ValueError(f"{kind!r} takes {'a' if takes else 'no'} value")
    amount = float(value)
    least, most = {"status": (200, 599), "slow": (1, math.inf)}.get(kind, (0, math.inf))
    if not least <= amount <= most:
        raise ValueError(f"{kind!r} takes a value from {least} to {most}")
    return amount


def _options(kind: str, words: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {"headers": ()}
    for word in words:
        name, _, value = word.partition("=")
        if name == "times":
            options[name] = math.inf if value == "always" else int(value)
        elif name == "skip":
            options[name] = int(value)
        elif name == "header" and kind == "status" and ":" in value and value.isprintable():
            header, _, content = value.partition(":")
            options["headers"] += ((header, content.strip()),)
        elif name == "body" and kind == "status":
            options[name] = value
        else:
            raise ValueError(f"{kind!r} has no option {word!r}")
    return options
