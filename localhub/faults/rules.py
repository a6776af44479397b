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
from typing import NamedTuple

from localhub.errors import FaultSyntaxError

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_HEADER = re.compile(r"([\w!#$%&'*+.^`|~-]+): ?([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)", re.ASCII)


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
    "cut-request": Kind("[=BYTES]", "closed when so much of the request's body has come (or half)"),
    "reset-request": Kind("[=BYTES]", "reset there"),
    "cut-answer": Kind("[=BYTES]", "closed when so much of the answer's body was sent (or half)"),
    "reset-answer": Kind("[=BYTES]", "reset there"),
    "lost": Kind("", "closed without an answer, with the work done"),
    "hang": Kind("[=SECONDS]", "kept waiting (or for ever), then closed; no work done"),
    "hang-after": Kind("[=SECONDS]", "kept waiting, then closed, with the work done"),
    "delay": Kind("=SECONDS", "kept waiting, then answered; work is done even if the client left"),
    "slow": Kind("=RATE", "read and answered at so many bytes a second"),
    "flip": Kind("[=OFFSET]", "answered with one wrong bit in this byte of the body (or its middle)"),
    "short": Kind("", "answered with tokens and addresses that have expired already"),
    "ignore-range": Kind("", "answered with the whole in place of a range"),
    "stale": Kind("", "answered as the same GET or HEAD was before the last change"),
}
GRAMMAR = "\n".join(
    [
        "A RULE is METHOD PATH KIND[=VALUE], then any of times=N|always (1 by default) and skip=N,",
        "and with status also header=NAME:VALUE (repeatable) and body=TEXT (a page if it begins with <).",
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
            FaultSyntaxError: The line is not a rule; the remedy names the words that are valid there.
        """
        return _Line(line).rule()

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


class _Line:
    """A rule as it was written; every complaint shows it."""

    def __init__(self, line: str) -> None:
        self._line = line

    def rule(self) -> Rule:
        words = self._words()
        if len(words) < 3:
            raise self._wrong(
                "A rule is METHOD PATH KIND and then options", "Example: GET /resolve/ status=503 times=2"
            )
        method, path, fault, *options = words
        self._check_method(method)
        self._check_path(path)
        kind, _, value = fault.partition("=")
        if kind not in KINDS:
            raise self._wrong(f"There is no fault {kind!r}", f"The faults are {', '.join(KINDS)}.")
        amount = self._value(kind, value)
        return Rule(method, path, kind, amount, *self._options(kind, options))

    def _words(self) -> list[str]:
        lexer = shlex.shlex(self._line, posix=True)
        lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""  # regular expressions have backslashes
        try:
            return list(lexer)
        except ValueError as error:
            raise self._wrong("A quote is not closed", "Quotes hold a word with spaces together.") from error

    def _check_method(self, word: str) -> None:
        if word != "*" and not set(word.split("|")) <= set(METHODS):
            valid = f"Write {', '.join(METHODS)}, several as GET|HEAD, or * for any."
            raise self._wrong(f"There is no method {word!r}", valid)

    def _check_path(self, word: str) -> None:
        try:
            re.compile(word)
        except re.error as error:
            raise self._wrong(f"{word!r} is no regular expression ({error})", "Correct it.") from error

    def _value(self, kind: str, value: str) -> float | None:
        takes = KINDS[kind].takes
        if not value and not takes.startswith("="):
            return None
        if not value or not takes:
            raise self._wrong(f"{kind!r} takes {'a' if takes else 'no'} value", f"Write {kind}{takes}.")
        unit = takes.strip("[=]")
        amount = self._number(unit, value, whole=unit != "SECONDS")
        if kind == "status" and not 200 <= amount <= 599:
            raise self._wrong(f"{value} is no status of an answer", "Write one from 200 to 599.")
        if kind == "slow" and not amount:
            raise self._wrong("Nothing ever arrives at 0 bytes a second", "Write hang for that.")
        return amount

    def _options(self, kind: str, words: list[str]) -> tuple[float, int, tuple[tuple[str, str], ...], str]:
        times: float = 1
        skip, headers, body = 0, [], ""
        for word in words:
            name, equals, value = word.partition("=")
            valid = ("times", "skip", *(("header", "body") if kind == "status" else ()))
            if name not in valid or not equals:
                raise self._wrong(f"{kind!r} has no option {word!r}", f"Its options are {', '.join(valid)}.")
            if name == "times":
                times = math.inf if value == "always" else self._number("times", value)
            elif name == "skip":
                skip = int(self._number("skip", value))
            elif name == "header":
                headers.append(self._header(value))
            else:
                body = value
        return times, skip, tuple(headers), body

    def _header(self, text: str) -> tuple[str, str]:
        header = _HEADER.fullmatch(text)
        if header is None:
            raise self._wrong(f"{text!r} is no header", "Write NAME:VALUE.")
        return header[1], header[2]

    def _number(self, name: str, value: str, *, whole: bool = True) -> float:
        if not re.fullmatch(r"\d{1,15}" if whole else r"\d{1,9}(\.\d{1,9})?", value, re.ASCII):
            more = " or always" if name == "times" else ""
            wanted = f"a whole number{more}" if whole else "a number of seconds"
            raise self._wrong(f"{value!r} is not what {name} takes", f"Write {wanted}.")
        return float(value) if not whole else int(value)

    def _wrong(self, what: str, remedy: str) -> FaultSyntaxError:
        return FaultSyntaxError(f"{what}.", where=f"fault {self._line!r}", remedy=remedy)
