"""The reference prompts: a JSON Lines file, one ``{"prompt": ..., "label": ...}`` a line, the label optional."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import RecipeError
from pipeline.recipe.problems import nearest
from pipeline.recipe.schema import MOST_PROMPTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

LARGEST = 16 << 20  # bytes of a prompts file
KEYS = ("prompt", "label")
_HALF = re.compile(r"[\ud800-\udfff]")  # of a character: JSON can spell it, and nothing can be made of it


@dataclass(frozen=True)
class Prompt:
    """One line of the file: what the model is asked for, and what a classifier should then see."""

    prompt: str
    label: str | None = None


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """Return the prompts of a file in its order.

    Raises:
        RecipeError: The file is missing or a line of it is wrong.

    """
    prompts, faults = scan(path)
    if faults:
        raise RecipeError(f"{faults[0][:1].upper()}{faults[0][1:]}.", where=str(path), remedy="Correct the prompts.")
    return tuple(prompts)


def scan(path: Path) -> tuple[list[Prompt], list[str]]:
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
    found = [(number, _read_line(line)) for number, line in enumerate(lines, 1) if line.strip()]
    prompts = [prompt for _, prompt in found if isinstance(prompt, Prompt)]
    faults = [(number, fault) for number, fault in found if isinstance(fault, str)]
    faults = sorted(
        [*faults, *_repeated([(number, line.prompt) for number, line in found if isinstance(line, Prompt)])]
    )
    told = [f"line {number}: {fault}" for number, fault in faults]
    if len(prompts) > MOST_PROMPTS:
        told.append(f"there are {len(prompts)} prompts, and at most {MOST_PROMPTS} can be asked")
    return prompts, told if found else ["the file has no prompts"]


def _repeated(texts: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the lines that say what an earlier one says.

    The bounds of a verdict are drawn from whole prompts as if each were another: one that is there twice would make
    the same pictures again and the bounds narrower than what was seen.
    """
    first: dict[str, int] = {}
    for number, text in texts:
        if first.setdefault(text, number) != number:
            yield number, f"the prompt of line {first[text]} again; it would make the same images"


def _read_line(line: str) -> Prompt | str:
    """Return a line's prompt, or what is wrong with it."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        return f"no JSON ({error.msg} at column {error.colno})"
    except (RecursionError, ValueError):  # nested too deeply, or a number of thousands of digits
        return "no JSON that a prompt could be"
    if not isinstance(entry, dict):
        return 'no mapping; write {"prompt": "..."}'
    for key in entry:
        if key not in KEYS:
            meant = nearest(key, KEYS)
            return f"unknown key {key!r}; " + (f"did you mean '{meant}'?" if meant else "the keys are prompt and label")
    return _fault_of(entry) or Prompt(**entry)


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
