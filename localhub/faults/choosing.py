"""Which request meets which fault: what a test and the server's thread share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from typing import NamedTuple

from localhub.faults.rules import Rule


class Seen(NamedTuple):
    """A request as it came.

    Attributes:
        method: ``GET``, ``POST``, ...
        path: The address behind the origin, quoted as it was sent, with its query.
        origin: ``hub``, or ``storage`` for the origin of large files.
        rule: The rule that took it, if one did.
    """

    method: str
    path: str
    origin: str
    rule: Rule | None


class Faults:
    """Rules and how often each has matched; every method may be called from any thread.

    Args:
        rules: Lines, as the command takes them, or rules.
        told: Called with each request on the server's thread. Without it the requests are kept in ``seen``.
    """

    def __init__(self, rules: Iterable[Rule | str] = (), *, told: Callable[[Seen], object] | None = None) -> None:
        self.seen: list[Seen] = []
        self._told = told or self.seen.append
        self._lock = Lock()
        self.rules = tuple(rules)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules; setting them forgets how often those before have matched."""
        return self._rules

    @rules.setter
    def rules(self, rules: Iterable[Rule | str]) -> None:
        parsed = tuple(Rule.parse(rule) if isinstance(rule, str) else rule for rule in rules)
        with self._lock:
            self._rules, self._matched = parsed, [0] * len(parsed)

    def choose(self, method: str, path: str, origin: str) -> Rule | None:
        """Return the first rule that is due for a request, and count it."""
        with self._lock:
            rule = self._due(method, path)
        self._told(Seen(method, path, origin, rule))
        return rule

    def remembers(self, method: str, path: str) -> bool:
        """Say whether an answer may be wanted again when it has become stale."""
        return any(rule.kind == "stale" and rule.matches(method, path) for rule in self.rules)

    def _due(self, method: str, path: str) -> Rule | None:
        for number, rule in enumerate(self._rules):
            if self._matched[number] < rule.skip + rule.times and rule.matches(method, path):
                self._matched[number] += 1
                if self._matched[number] > rule.skip:
                    return rule
        return None
