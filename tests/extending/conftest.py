"""What a stranger has: a checkout with what they add to it, and a Python of their own that runs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pipeline.cards
import pytest

import localhub
import pipeline
from tests.desk import Desk, Done, Shelf, opened

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Addition:
    """One thing that a stranger adds.

    Attributes:
        file: Its place in the checkout, by its name beside this file.
        among: The file that lists its kind.
        entry: What is written there, each line by the one that it stands before.
    """

    file: tuple[str, str]
    among: str
    entry: dict[str, str]

    def make(self, root: Path) -> None:
        name, place = self.file
        (root / place).parent.mkdir(exist_ok=True)
        shutil.copy(HERE / name, root / place)
        text = (root / self.among).read_text()
        for line, new in self.entry.items():
            assert text.count(f"\n{line}\n") == 1
            text = text.replace(f"\n{line}\n", f"\n{new}\n{line}\n")
        (root / self.among).write_text(text)


ADDITIONS = {
    "backend": Addition(
        ("backend.py", "pipeline/backends/rows8/__init__.py"),
        "pipeline/backends/__init__.py",
        {
            "from pipeline.backends.protocol import Backend, Layout, Loader, Options, Packed, Scheme, Streaming": (
                "from pipeline.backends import rows8"
            ),
            '    "torchao": torchao,': '    "rows8": rows8,',
        },
    ),
    "task": Addition(
        ("task.py", "pipeline/tasks/text_classification.py"),
        "pipeline/tasks/__init__.py",
        {
            "from pipeline.tasks.text_to_image import TEXT_TO_IMAGE": (
                "from pipeline.tasks.text_classification import TEXT_CLASSIFICATION"
            ),
            '    "feature-extraction": FEATURE_EXTRACTION,': '    "text-classification": TEXT_CLASSIFICATION,',
        },
    ),
    "metric": Addition(
        ("metric.py", "pipeline/tasks/lengths.py"),
        "pipeline/tasks/feature_extraction.py",
        {
            "from pipeline.tasks.answers import Request": "from pipeline.tasks.lengths import LENGTH_RATIO",
            "    size_ratio: RatioAtMost | None = optional(SIZE_RATIO_MEANS)": (
                '    length_ratio: Annotated[EmbeddingAtLeast | None, LENGTH_RATIO] = optional("How long it still is.")'
            ),
        },
    ),
    "verb": Addition(
        ("verb.py", "pipeline/cli/names.py"),
        "pipeline/cli/__init__.py",
        {
            "from pipeline.cli.console import LOG, Console, Mode": "from pipeline.cli import names",
            "    yank.yank,": "    names.names,",
        },
    ),
}


@dataclass(frozen=True)
class Checkout:
    """Everything that is installed of this program, and what a stranger adds to it.

    Attributes:
        root: Where it lies.
        written: How many lines each addition wrote into which files.
    """

    root: Path
    written: dict[str, dict[str, int]]


@dataclass
class Stranger(Desk):
    """Somebody with a checkout and a Python of their own, in which a library of theirs is installed."""

    python: str = ""

    def publish(self, *arguments: object, **_: Any) -> Done:
        command = [self.python, "-m", "pipeline.cli", *map(str, arguments)]
        given = {"cwd": self.folder, "env": self.environment}
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=400, **given)
        return Done(done.returncode, done.stdout, done.stderr)


def folder_of(package: ModuleType) -> Path:
    return Path(package.__file__ or "").parent


def lines_of(name: str) -> int:
    """Return how many lines a file beside this one has."""
    return len((HERE / name).read_text().splitlines())


def contents(root: Path) -> dict[str, list[str]]:
    """Return the lines of code under a folder."""
    return {path.relative_to(root).as_posix(): path.read_text().splitlines() for path in root.rglob("*.py")}


def difference(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, int]:
    """Return how many lines more each file has that is another."""
    return {name: len(after[name]) - len(before.get(name, [])) for name in after if after[name] != before.get(name)}


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    root = tmp_path_factory.mktemp("checkout")
    compiled = shutil.ignore_patterns("__pycache__")
    for package in (pipeline, pipeline.cards, localhub):
        to = root / package.__name__.replace(".", "/")
        shutil.copytree(folder_of(package), to, ignore=compiled, dirs_exist_ok=True)
    shutil.copy(HERE / "classifier.py.jinja", root / "pipeline" / "cards")
    written = {}
    for name, addition in ADDITIONS.items():
        before = contents(root / "pipeline")
        addition.make(root)
        written[name] = difference(before, contents(root / "pipeline"))
    return Checkout(root, written)


@pytest.fixture(scope="session")
def python(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has the checkout, the stranger's library, and what is installed here."""
    folder = tmp_path_factory.mktemp("python")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    shutil.copytree(HERE / "rows8", packages / "rows8")
    (packages / "rows8-1.0.dist-info").mkdir()
    (packages / "rows8-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: rows8\nVersion: 1.0\n")
    installed = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "checkout.pth").write_text("\n".join([str(checkout.root), *installed]) + "\n")
    return str(folder / "bin" / "python")


@pytest.fixture
def stranger(stocked: Shelf, python: str, tmp_path: Path) -> Iterator[Stranger]:
    shutil.copytree(stocked.root, tmp_path / "hub", symlinks=True)
    (tmp_path / "desk").mkdir()
    with opened(tmp_path / "hub", stocked) as shelf:
        yield Stranger(tmp_path / "desk", shelf, tmp_path / "home", python=python)
