"""Templates: how one becomes text, in a sandbox, by filters that round numbers and keep text of others text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files as resources
from math import floor, log10
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final

from jinja2 import BaseLoader, FunctionLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.errors import CardError
from pipeline.files import counted, digest_of, human_size
from pipeline.validate.page.differences import runs
from pipeline.validate.report import Interval

CARD_SUFFIX: Final = ".md.jinja"  # behind a template's name, its file
BASE: Final = "base.md.jinja"  # what all cards have in common
MOST_DECIMALS: Final = 6
LARGE: Final = ((1e9, "billion"), (1e6, "million"), (1e3, "thousand"))


def templates() -> dict[str, str]:
    """Return the digest of each card template, with what all cards have in common and the tasks' snippets."""
    folder = resources("pipeline.cards")
    texts = {entry.name: entry.read_text() for entry in folder.iterdir() if entry.name.endswith(".jinja")}
    shared = [texts[name] for name in sorted(texts) if not is_of_one(name)]
    return {
        name.removesuffix(CARD_SUFFIX): digest_of([texts[name], *shared]) for name in sorted(texts) if is_of_one(name)
    }


def template_files(template: str) -> list[Path]:
    """Return the files that one card template is made of: those of which `templates` takes the digest."""
    files = [Path(str(entry)) for entry in resources("pipeline.cards").iterdir() if entry.name.endswith(".jinja")]
    return [file for file in files if file.name == f"{template}{CARD_SUFFIX}" or not is_of_one(file.name)]


def is_of_one(name: str) -> bool:
    """Tell whether a file is the template of some cards, and not what all have in common."""
    return name.endswith(CARD_SUFFIX) and name != BASE


def packaged(name: str) -> tuple[str, str, Callable[[], bool]] | None:
    """Return a template of this program as Jinja loads it: its text, its name in messages, and that it stays so."""
    file = resources("pipeline.cards") / name
    return (file.read_text(), f"cards/{name}", lambda: True) if file.is_file() else None


PACKAGED: Final = FunctionLoader(packaged)


def render(name: str, values: Mapping[str, Any], loader: BaseLoader = PACKAGED) -> str:
    """Render one template in a sandbox.

    Args:
        name: Its file's name.
        values: What it may use.
        loader: Where it comes from.

    Raises:
        CardError: A variable has no value, a value does not fit its filter, or the template does what the sandbox
            forbids.
    """
    try:
        return sandbox(loader).get_template(name).render(values)
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename.endswith(".jinja")]
        file = getattr(error, "filename", None) or (frames[-1].filename if frames else f"cards/{name}")
        line = getattr(error, "lineno", None) or (frames[-1].lineno if frames else None)
        raise CardError(
            f"The template cannot be rendered: {getattr(error, 'message', None) or error}.",
            where=f"{file}:{line}" if line else file,
            remedy="Every variable of a template must have a value in plan and report; correct the template.",
        ) from error


@cache
def sandbox(loader: BaseLoader) -> ImmutableSandboxedEnvironment:
    """Return the environment of templates; it keeps what it compiled, which takes longer than rendering it."""
    environment = ImmutableSandboxedEnvironment(
        loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= FILTERS
    return environment


def as_text(value: object) -> str:
    """Escape text from elsewhere, so that Markdown and HTML show it and do nothing with it."""
    flat = " ".join(str(value).split())
    escaped = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", escaped)


def as_code(value: object) -> str:
    """Return text from elsewhere as Markdown's code, or as plain text where it holds what would end that."""
    flat = " ".join(str(value).split())
    return as_text(flat) if set(flat) & set("`|") or not flat else f"`{flat}`"


def literal(value: object) -> str:
    """Return a JSON value as Python source."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def as_json(value: object) -> str:
    """Return a JSON value as a script in a page has it: no text of it ends the script."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def rounded(number: float, within: Interval | None = None, unit: str = "") -> str:
    """Return a number with its unit, to the digits that mean something.

    Args:
        number: The number.
        within: The interval that holds it, of whose width two digits are shown; without one the number has three.
        unit: Its unit.
    """
    if unit == "bytes":
        return human_size(number)
    places = decimals(number, within)
    shown = f"{round(number, places) + 0.0:.{places}f}"  # adding 0 makes -0.0 plain
    return f"{shown} {unit}".rstrip()


def interval(within: Interval | None) -> str:
    """Return what stands behind a number for its interval, such as `` (53.20 to 53.88)``; nothing without one."""
    if within is None or within.low == within.high:
        return ""
    return f" ({rounded(within.low, within)} to {rounded(within.high, within)})"


def decimals(number: float, within: Interval | None = None) -> int:
    """Return how many digits behind the point are shown of a number, at least one."""
    width = within.high - within.low if within else 0.0
    last = 1 - floor(log10(width)) if width > 0 else 2 - floor(log10(abs(number))) if number else 2
    return min(max(last, 1), MOST_DECIMALS)


def large(count: int, noun: str) -> str:
    """Return a large count in words, such as ``5.73 million parameters``."""
    for scale, word in LARGE:
        if count >= scale:
            return f"{count / scale:.2f} {word} {noun}s"
    return counted(count, noun)


def differing(texts: Sequence[str], most: int = 120) -> str:
    """Return two texts as one in Markdown: struck through what only the first says, bold what only the second does.

    Args:
        texts: Both.
        most: How many words of each are shown.
    """
    own, other = (" ".join([*words[:most], *(["…"] if len(words) > most else [])]) for words in map(str.split, texts))
    marks = {"both": "", "source": "~~", "candidate": "**"}
    return " ".join(f"{marks[run.of]}{as_text(run.text)}{marks[run.of]}" for run in runs(own, other))


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "code": as_code,
    "count": counted,
    "differing": differing,
    "interval": interval,
    "json": as_json,
    "large": large,
    "literal": literal,
    "rounded": rounded,
    "size": human_size,
    "text": as_text,
}
