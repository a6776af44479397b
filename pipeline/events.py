"""What the stages tell the console. They never print: they call the listener they were given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: ``started`` and ``finished``, or ``failed``, bracket a stage; ``skipped`` says its sealed result is used
            again; ``progress`` counts ``done`` of ``total``; ``note`` is a remark for the user.
        stage: The stage's name, such as ``quantize``.
        subject: What it works on: a target's name, a component, a file.
        text: One line for people.
        done: Units finished so far.
        total: Units in all; 0 where it is not known.
        unit: ``B`` for bytes, otherwise a plural noun.
        seconds: For ``finished`` and ``failed``, how long the stage took.
        data: Measurements, JSON values only.
    """

    kind: Literal["started", "progress", "finished", "failed", "skipped", "note"]
    stage: str
    subject: str = ""
    text: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    seconds: float = 0.0
    data: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listen to nothing, for callers who want results only."""
