"""Heartbeat: where nobody sees bars, a line a minute says what is still at work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread
from time import monotonic
from typing import Final

MINUTE: Final = 60.0


@dataclass
class Heartbeat:
    """Says what is at work when nothing was said for long.

    Attributes:
        say: Shows a line.
        every: Seconds between lines.
    """

    say: Callable[[str], None]
    every: float = MINUTE
    _open: dict[str, float] = field(default_factory=dict)  # what began and did not end, and when
    _amount: str = ""
    _last: float = 0.0
    _ended: Event = field(default_factory=Event)
    _thread: Thread | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._last = monotonic()
        self._ended.clear()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        if self._thread:
            self._thread.join()

    def began(self, label: str) -> None:
        """Hear that work began."""
        self._open[label] = monotonic()
        self._amount = ""

    def went(self, label: str, amount: str) -> None:
        """Hear how far some work is."""
        self._amount = f"{label}: {amount}"

    def ended(self, label: str) -> None:
        """Hear that work ended, which was shown."""
        self._open.pop(label, None)
        self._amount = ""
        self._last = monotonic()

    def _run(self) -> None:
        while not self._ended.wait(max(0.01, self._last + self.every - monotonic())):
            label, began = next(reversed([*self._open.items()]), ("", 0.0))
            if label and monotonic() - self._last >= self.every:
                self.say(f"  {self._amount or label}, {monotonic() - began:.0f} s so far")
                self._last = monotonic()
            elif not label:
                self._last = monotonic()
