"""The reference prompts: a JSON Lines file, one ``{"prompt": ..., "label": ...}`` a line, the label optional.

A task may want further files with each, such as ``{"image": "pictures/fox.png", "prompt": ...}``, and have another word
for the label, such as ``{"audio": "clips/fox.wav", "transcript": "the quick brown fox"}``; of what is asked in words it
may take ``messages`` in place of a prompt, and a ``text`` that would answer it.
"""

from __future__ import annotations

import json
import os
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
MESSAGES = "messages"
TEXT = "text"
ROLES = ("system", "user", "assistant")
HALF_MEANS = "half a character (a lone surrogate such as \\ud800) is no text"
ENDING = re.compile(r"\.\w{1,8}$", re.ASCII)  # of a file's name that its pinned name keeps
_HALF = re.compile(r"[\ud800-\udfff]")  # of a character: JSON can spell it, and nothing can be made of it


@dataclass(frozen=True)
class Form:
    """What a line of the prompts of a task says.

    Attributes:
        files: The further files that each has.
        words: What else it may have, of `MESSAGES` and `TEXT`.
        label: The word for what an answer must show.
        exact: Whether that is all that an answer says, which may be nothing.
        named_by: The file whose name is the text of a line that has none; empty where each has a text.
    """

    files: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    label: str = "label"
    exact: bool = False
    named_by: str = ""


class Message(BaseModel):
    """What one side of a conversation says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    content: str


class Question(BaseModel):
    """What is asked besides the seed.

    Attributes:
        prompt: Its text; of messages what the user said last.
        files: Names of further files by what they are to the task, such as ``image``; each is named after its SHA-256.
        messages: The conversation that is continued, if it is one.
        text: What might be answered, on which the model is measured in place of the question itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    files: dict[str, str] = Field(default={}, exclude_if=lambda value: not value)
    messages: tuple[Message, ...] = Field(default=(), exclude_if=lambda value: not value)
    text: str = Field(default="", exclude_if=lambda value: not value)


class Prompt(Question):
    """One line of the file, pinned.

    Attributes:
        label: What a classifier should then see.
    """

    label: str | None = None

    @property
    def question(self) -> Question:
        """What of it is asked."""
        return Question(**self.model_dump(exclude={"label"}))


@dataclass(frozen=True)
class Line:
    """One line of the file as it is written; its files are named from the folder of the prompts."""

    prompt: str
    label: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    messages: tuple[Mapping[str, str], ...] = ()
    text: str = ""


def read_prompts(path: Path, form: Form = Form()) -> tuple[Prompt, ...]:
    """Return the prompts of a file in its order.

    Args:
        path: The file.
        form: What each line says.

    Raises:
        RecipeError: The file is missing or a line of it is wrong.

    """
    return read_pinned(path, form)[0]


def read_pinned(path: Path, form: Form) -> tuple[tuple[Prompt, ...], dict[str, Path]]:
    """Return the prompts of a file, and where their further files lie by the names that pin them.

    Such a name is the SHA-256 and the ending, by which a file is known whatever it is called.

    Raises:
        RecipeError: The file is missing or a line of it is wrong.

    """
    lines, faults = scan(path, form)
    if faults:
        raise RecipeError(f"{faults[0][:1].upper()}{faults[0][1:]}.", where=str(path), remedy="Correct the prompts.")
    places = sorted({path.parent / file for line in lines for file in line.files.values()})
    names = {place: f"{sha256_file(place)}{place.suffix.lower()}" for place in places}
    prompts = tuple(
        Prompt(
            prompt=line.prompt,
            label=line.label,
            files={role: names[path.parent / file] for role, file in line.files.items()},
            messages=tuple(Message(**message) for message in line.messages),
            text=line.text,
        )
        for line in lines
    )
    return prompts, {name: place for place, name in names.items()}


def scan(path: Path, form: Form = Form()) -> tuple[list[Line], list[str]]:
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
    reading = Reading(path.parent, form)
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
    first: dict[tuple[str, str, str], int] = {}
    for number, line in lines:
        asked = line.prompt, json.dumps(line.files, sort_keys=True), json.dumps([line.messages, line.text])
        if first.setdefault(asked, number) != number:
            yield number, f"the prompt of line {first[asked]} again; it would be answered the same"


@dataclass(frozen=True)
class Reading:
    """Reads the lines of a file.

    Attributes:
        folder: Where further files lie.
        form: What a line says.

    """

    folder: Path
    form: Form

    def line(self, text: str) -> Line | str:
        """Return what a line says, or what is wrong with it."""
        form = self.form
        keys = ("prompt", form.label, *form.files, *form.words)
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
        if form.named_by in entry and "prompt" not in entry:
            entry["prompt"] = Path(str(entry[form.named_by])).stem
        talk = MESSAGES in entry
        if (
            fault := (_fault_of_messages(entry) if talk else "")
            or self.fault_of(entry, talk=talk)
            or self.missing(entry)
        ):
            return fault
        messages = tuple(entry.get(MESSAGES, ()))
        prompt = entry["prompt"] if not talk else [one["content"] for one in messages if one["role"] == "user"][-1]
        files = {role: entry[role] for role in form.files if role in entry}
        return Line(prompt, entry.get(form.label), files, messages, entry.get(TEXT, ""))

    def missing(self, entry: dict[str, object]) -> str:
        """Return what is wrong with a line's further files."""
        for role in self.form.files:
            file = entry.get(role)
            if not isinstance(file, str) or not file.strip():
                return f"{role!r} must name a file beside the prompts"
            place = self.folder / file
            if not os.path.isfile(place):  # noqa: PTH113 - a name that is too long is none; Path raises what the disk says
                return f"there is no file {file[:40]!r} beside the prompts"
            if not place.resolve().is_relative_to(self.folder.resolve()):
                return f"the file {file[:40]!r} lies outside of the prompts' folder; copy it there to publish it"
            if place.suffix and not ENDING.fullmatch(place.suffix):
                return f"the file {file[:40]!r} must end in a dot and at most 8 letters or digits, such as .wav"
        return ""

    def fault_of(self, entry: dict[str, object], *, talk: bool) -> str:
        """Return what is wrong with a line's texts."""
        word, exact = self.form.label, self.form.exact
        prompt, label, text = entry.get("prompt"), entry.get(word), entry.get(TEXT)
        if not talk and "prompt" not in entry:
            return f"the key '{self.form.named_by or 'prompt'}' is missing"
        if not talk and not _is_text(prompt):
            return f"'prompt' must be a text that is not empty, found {json.dumps(prompt)[:40]}"
        if any(isinstance(value, str) and _HALF.search(value) for value in (prompt, label, text)):
            return HALF_MEANS
        if word in entry and not _is_text(label) and not (exact and label == ""):
            wanted = 'a text, "" where nothing is to be said' if exact else "a text that is not empty"
            return f"{word!r} must be {wanted}, found {json.dumps(label)[:40]}"
        if TEXT in entry and not _is_text(text):
            return f"'text' must be a text that is not empty, found {json.dumps(text)[:40]}"
        return ""


def _fault_of_messages(entry: dict[str, object]) -> str:
    said = entry[MESSAGES]
    if "prompt" in entry:
        return "'prompt' and 'messages' are two ways to ask; write one of them"
    if not isinstance(said, list) or not all(isinstance(one, dict) for one in said):
        return '\'messages\' must be a list of {"role": ..., "content": ...}'
    for one in said:
        if set(one) != {"role", "content"} or one["role"] not in ROLES or not _is_text(one["content"]):
            found = json.dumps(one)[:60]
            return f"a message has a 'role', one of {listed(ROLES, 'and')}, and a 'content' that is not empty: {found}"
        if _HALF.search(one["content"]):
            return HALF_MEANS
    if not said or said[-1]["role"] != "user":
        return "the last of 'messages' must be the user's, which is answered"
    return ""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
