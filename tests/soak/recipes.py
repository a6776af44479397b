"""Recipes: those that are there with bytes, lines and words spoiled, and mappings that hypothesis makes up."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.configuration import set_hypothesis_home_dir
from ruamel.yaml import YAML

from pipeline.backends import SCHEMES
from pipeline.errors import PublishError
from pipeline.recipe import Recipe, Vocabulary, load, problems, read_quantization, read_recipe
from pipeline.tasks import TASKS
from tests.recipe.test_properties import documents, junk, keys
from tests.soak.guarded import Guard
from tests.soak.mutations import TEXTS, changed, scrambled, written

ROOT = Path(__file__).parents[2]
VOCABULARY = Vocabulary(SCHEMES, frozenset({"text-to-image"}), TASKS)
GOOD = ROOT / "tests/recipe/good.yaml"
CORPUS = [
    path.read_bytes()
    for path in (GOOD, *sorted(ROOT.glob("recipes/*/recipe.yaml")), *sorted(ROOT.glob("tests/recipe/bad/*.yaml")))
]
PROMPTS = (ROOT / "tests/recipe/prompts.jsonl").read_bytes()
SECONDS = 1.0  # of this process's own time for one reading
MARKS = (
    "&a ", "*a", "<<: *a", "<<: {a: 1}", "!!python/object/apply:os.system ['true']", "!!binary ", "!!float ", "? ",
    "- ", "| ", ">9", "%YAML 1.1\n---\n", "%TAG ! tag:x:\n---\n", "---\n", "...\n", "{" * 1000, "[" * 60_000,
    "- " * 5000, "a: " * 30_000, "&a [*a]", "&a {a: *a}", "'", '"', "#",
    "\t", "\r", "\u2028", "\ufeff", "\x85", "\x00", "\\x00",
    ".nan", "-.inf", "1e999", "9" * 5000, "0x" + "f" * 5000, "0o7" * 90, "1_000", "12:30:45", "2001-12-14", "no", "~",
    '"\\ud800"', '"\\U0010ffff"', "x" * 100_000, "'" + "y" * 100_000 + "'", "a" * 900 + ": ", "é" * 50_000, "@", "`",
)  # fmt: skip
LAUGHS = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
quick = settings(
    deadline=None, max_examples=5, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


def prepare() -> None:
    """Read a recipe without mistakes, which imports what reading takes."""
    assert load(GOOD, VOCABULARY).recipe


def meet(number: int, rng: Random, folder: Path, guard: Guard) -> str:
    """Read a recipe in every way it is read, and let nothing be written."""
    set_hypothesis_home_dir(folder)
    (folder / "prompts.jsonl").write_bytes(scrambled(PROMPTS, rng) if rng.random() < 0.05 else PROMPTS)
    ends: list[str] = []

    def one(content: bytes) -> None:
        (folder / "recipe.yaml").write_bytes(content)
        with guard.nowhere():
            ends.append(read(folder / "recipe.yaml", content))

    if number % 3:
        one(rng.choice((spoiled_bytes, spoiled_lines, spoiled_words, spoiled_document))(rng.choice(CORPUS), rng))
    else:
        made_up(one, rng)
    return max(ends, default="none")


def read(path: Path, content: bytes) -> str:
    """Read it; a reading that takes long or says nothing useful is wrong."""
    with soon(content):
        found = problems(path, VOCABULARY)
    for problem in found:
        assert str(problem).encode()
        assert "\n" not in problem.message
    for reader in (read_published, read_options):
        with soon(content), told():
            reader(content)
    if found:
        return "refused"
    recipe = load(path, VOCABULARY).recipe
    assert Recipe.model_validate_json(recipe.model_dump_json(), context=VOCABULARY) == recipe
    return "accepted"


def read_published(content: bytes) -> None:
    """Read it as the recipe of a release."""
    read_recipe(content, "recipe.yaml", VOCABULARY)


def read_options(content: bytes) -> None:
    """Read it as the options of a command."""
    read_quantization(content.decode("utf-8", "replace"), VOCABULARY)


@contextmanager
def told() -> Iterator[None]:
    """Let an error of the program's own pass, if it can be told."""
    try:
        yield
    except PublishError as error:
        str(error).encode()


@contextmanager
def soon(content: bytes) -> Iterator[None]:
    """Bound the work of one reading."""
    began = time.process_time()
    yield
    took = time.process_time() - began
    assert took < SECONDS, f"{took:.1f} s of work for {len(content)} bytes"


def spoiled_bytes(content: bytes, rng: Random) -> bytes:
    """Spoil bytes."""
    return scrambled(content, rng)


def spoiled_lines(content: bytes, rng: Random) -> bytes:
    """Spoil lines: doubled, gone, moved, indented, joined, or others."""
    lines = content.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines))
        lines[at : at + 1] = another(lines[at], rng.choice(lines), rng)
        lines = lines or [""]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def another(line: str, other: str, rng: Random) -> list[str]:
    """Return what stands in the place of a line."""
    ways: tuple[list[str], ...] = (
        [line] * 2,
        [],
        [other],
        [" " * rng.choice((1, 2, 40)) + line],
        [line.lstrip()],
        [line + other],
        [line] * 3000,
        [rng.choice(MARKS), line],
        [LAUGHS, line],
    )
    return rng.choice(ways)


def spoiled_words(content: bytes, rng: Random) -> bytes:
    """Put marks, or texts that nobody means, in the place of words or before them."""
    text = content.decode("utf-8", "replace")
    for _ in range(rng.choice((1, 1, 2, 4))):
        words = text.split(" ")
        at = rng.randrange(len(words))
        word = rng.choice((rng.choice(MARKS), rng.choice(TEXTS)))
        words[at] = rng.choice((word, word + words[at], words[at] + word))
        text = " ".join(words)
    return text.encode("utf-8", "surrogatepass")


def spoiled_document(content: bytes, rng: Random) -> bytes:
    """Spoil what the recipe says, and write it as JSON, which is YAML."""
    try:
        document: Any = YAML(typ="safe", pure=True).load(content.decode("utf-8", "replace"))
        document = json.loads(json.dumps(document, default=str))
    except Exception:
        return scrambled(content, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        document = changed(document, rng)
    return written(document, rng)


def made_up(one: Callable[[bytes], None], rng: Random) -> None:
    """Have hypothesis make up a few: good ones, junk, and bytes."""
    number = rng.randrange(2**32)

    @seeded(number)
    @quick
    @given(document=documents)
    def good(document: dict[str, Any]) -> None:
        one(json.dumps(document).encode())

    @seeded(number)
    @quick
    @given(
        document=junk
        if rng.random() < 0.5
        else documents.flatmap(lambda good: keys.map(lambda key: {**good, key: good}))
    )
    def bad(document: Any) -> None:
        stream = io.BytesIO()
        YAML(typ="safe", pure=True).dump(document, stream)
        one(stream.getvalue())

    rng.choice((good, bad))()
