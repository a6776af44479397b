"""The reference prompts: a JSON Lines file, one ``{"prompt": ..., "label": ...}`` a line, the label optional.

A task may want further files with each, such as ``{"image": "pictures/fox.png", "prompt": ...}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import RecipeError
from pipeline.files import sha256_file
from pipeline.recipe.problems import listed, nearest
from pipeline.recipe.schema import MOST_PROMPTS

LARGEST = 16 << 20  # bytes of a prompts file
KEYS = ("prompt", "label")
_HALF = re.compile(r"[\ud800-\udfff]")  # of a character: JSON can spell it, and nothing can be made of it


class Prompt(BaseModel):
    """One line of the file, pinned.

    Attributes:
        prompt: What the model is asked for.
        label: What a classifier should then see.
        files: Further files of the question by what they are to the task, each named after its SHA-256.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    label: str | None = None
    files: dict[str, str] = Field(default={}, exclude_if=lambda value: not value)


@dataclass(frozen=True)
class Line:
    """One line of the file as it is written; its files are named from the folder of the prompts."""

    prompt: str
    label: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)


def read_prompts(path: Path, roles: Iterable[str] = ()) -> tuple[Prompt, ...]:
    """Return the prompts of a file in its order.

    Args:
        path: The file.
        roles: The files that each has.

    Raises:
        RecipeError: The file is missing or a line of it is wrong.

    """
    return read_pinned(path, roles)[0]


def read_pinned(path: Path, roles: Iterable[str]) -> tuple[tuple[Prompt, ...], dict[str, Path]]:
    """Return the prompts of a file, and where their further files lie by the names that pin them.

    Such a name is the SHA-256 and the ending, by which a file is known whatever it is called.

    Raises:
        RecipeError: The file is missing or a line of it is wrong.

    """
    lines, faults = scan(path, roles)
    if faults:
        raise RecipeError(f"{faults[0][:1].upper()}{faults[0][1:]}.", where=str(path), remedy="Correct the prompts.")
    places = sorted({path.parent / file for line in lines for file in line.files.values()})
    names = {place: f"{sha256_file(place)}{place.suffix.lower()}" for place in places}
    prompts = tuple(
        Prompt(
            prompt=line.prompt,
            label=line.label,
            files={role: names[path.parent / file] for role, file in line.files.items()},
        )
        for line in lines
    )
    return prompts, {name: place for place, name in names.items()}


def scan(path: Path, roles: Iterable[str] = ()) -> tuple[list[Line], list[str]]:
    """Return the prompts of a file, and what is wrong with it, each with its line number."""
    try:
        if not path.is_file():
            return [], ["there is no such file"]
        if path.stat().st_size > LARGEST:
            return [], [f"the file is larger than {LARGEST >> 20} MiB"]
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        return [], [f"the file cannot be read ({error.strerror})"]
    except UnicodeDecodeError as error:
        return [], [f"the file is not UTF-8 at byte {error.start}"]
    reading = Reading(path.parent, tuple(roles))
    found = [(number, reading.line(line)) for number, line in enumerate(lines, 1) if line.strip()]
    prompts = [line for _, line in found if isinstance(line, Line)]
    faults = [(number, fault) for number, fault in found if isinstance(fault, str)]
    faults = sorted([*faults, *_repeated([(number, line) for number, line in found if isinstance(line, Line)])])
    told = [f"line {number}: {fault}" for number, fault in faults]
    if len(prompts) > MOST_PROMPTS:
        told.append(f"there are {len(prompts)} prompts, and at most {MOST_PROMPTS} can be asked")
    return prompts, told if found else ["the file has no prompts"]


def _repeated(lines: Iterable[tuple[int, Line]]) -> Iterator[tuple[int, str]]:
    """Yield the lines that say what an earlier one says.

    The bounds of a verdict are drawn from whole prompts as if each were another: one that is there twice would be
    answered the same again and make the bounds narrower than what was seen.
    """
    first: dict[tuple[str, str], int] = {}
    for number, line in lines:
        asked = line.prompt, json.dumps(line.files, sort_keys=True)
        if first.setdefault(asked, number) != number:
            yield number, f"the prompt of line {first[asked]} again; it would be answered the same"


@dataclass(frozen=True)
class Reading:
    """Reads the lines of a file.

    Attributes:
        folder: Where further files lie.
        roles: What further files a question has.

    """

    folder: Path
    roles: tuple[str, ...]

    def line(self, text: str) -> Line | str:
        """Return what a line says, or what is wrong with it."""
        keys = (*KEYS, *self.roles)
        try:
            entry = json.loads(text)
        except json.JSONDecodeError as error:
            return f"no JSON ({error.msg} at column {error.colno})"
        except (RecursionError, ValueError):  # nested too deeply, or a number of thousands of digits
            return "no JSON that a prompt could be"
        if not isinstance(entry, dict):
            return 'no mapping; write {"prompt": "..."}'
        for key in entry:
            if key not in keys:
                meant = nearest(key, keys)
                every = listed(keys, "and")
                return f"unknown key {key!r}; " + (f"did you mean '{meant}'?" if meant else f"the keys are {every}")
        if fault := _fault_of(entry) or self.missing(entry):
            return fault
        return Line(entry["prompt"], entry.get("label"), {role: entry[role] for role in self.roles if role in entry})

    def missing(self, entry: dict[str, object]) -> str:
        """Return what is wrong with a line's further files."""
        for role in self.roles:
            file = entry.get(role)
            if not isinstance(file, str) or not file.strip():
                return f"{role!r} must name a file beside the prompts"
            if not (self.folder / file).is_file():
                return f"there is no file {file!r} beside the prompts"
        return ""


def _fault_of(entry: dict[str, object]) -> str:
    prompt, label = entry.get("prompt"), entry.get("label")
    if "prompt" not in entry:
        return "the key 'prompt' is missing"
    if not isinstance(prompt, str) or not prompt.strip():
        return f"'prompt' must be a text that is not empty, found {json.dumps(prompt)[:40]}"
    if _HALF.search(prompt) or (isinstance(label, str) and _HALF.search(label)):
        return "half a character (a lone surrogate such as \\ud800) is no text"
    if "label" in entry and (not isinstance(label, str) or not label.strip()):
        return f"'label' must be a text that is not empty, found {json.dumps(label)[:40]}"
    return ""
