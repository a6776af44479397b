"""Watched: what `publish watch` found of published repositories, kept in the home for whoever asks for their status."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pipeline.files import pretty_json, write_atomically
from pipeline.locks import Lock

FILE: Final = "watch.json"


class Watched(BaseModel):
    """What came of loading a published repository and asking it once.

    Attributes:
        commit: What was tried; none where there is no such repository.
        loads: Whether it loads here and answers.
        reason: How it was loaded, what its libraries said, or why nothing is known.
        made: The versions that it was made with, of what takes part in loading it.
        versions: Those that are here.
        seen: The day on which it was tried, in UTC.
        withdrawn: Whether its publisher withdrew it.
        since: The first day on which this commit did not load, where it does not.
        build: Which of its recipe's it is.
        exit_code: Of the error where it could not be looked at, else 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    commit: str | None = None
    loads: bool | Literal["unknown"] = "unknown"
    reason: str
    made: dict[str, str] = {}
    versions: dict[str, str] = {}
    seen: str
    since: str = ""
    build: int = 1
    exit_code: int = 0
    withdrawn: bool = False

    @property
    def absent(self) -> bool:
        """Whether there is no such repository, which is no fault of what a recipe may publish later."""
        return self.commit is None and not self.exit_code

    @property
    def in_order(self) -> bool:
        """Whether nobody has to look at it: it loads, is not to be used any more, or is not there."""
        return self.loads is True or self.withdrawn or self.absent

    @property
    def fault(self) -> str:
        """What is wrong with it, by the versions here that it was not made with; by all where they are the same."""
        other = {name: here for name, here in self.versions.items() if self.made.get(name) != here}
        return f"does not load or answer with {', '.join(map(' '.join, sorted((other or self.versions).items())))}"


KEPT: Final = TypeAdapter(dict[str, Watched])


def read_watched(home: Path) -> dict[str, Watched]:
    """Return what was found last, by repository; nothing where no file is there, or none that this version reads."""
    try:
        return KEPT.validate_json((home / FILE).read_bytes())
    except (OSError, ValidationError):
        return {}


def keep_watched(home: Path, found: Watched) -> Watched:
    """Keep what was found, unless nothing is known now, and return it with the day since which it does not load."""
    if found.loads == "unknown":
        return found
    with Lock(home / "locks" / "watch") as lock:
        lock.alone(lambda _: None)  # whoever has it writes a small file
        kept = read_watched(home)
        if not found.loads:
            before = kept.get(found.repository, found)
            since = before.since if before.commit == found.commit else ""
            found = found.model_copy(update={"since": since or found.seen})
        kept[found.repository] = found
        write_atomically(home / FILE, pretty_json(KEPT.dump_python(dict(sorted(kept.items())), mode="json")))
    return found
