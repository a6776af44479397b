"""Embedded Hubs that have the sources of the recipes at the commits that these pin, in their real shapes."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

from localhub.server import running
from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.recipe import DatasetPrompts, HubSource, Loaded, Vocabulary, load
from pipeline.tasks import TASKS
from tests.desk import TOKENS, Desk, Shelf, home_in, once
from tests.recipes.families import FAMILIES
from tests.recipes.sparse import shelve, write

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("[!_]*.yaml"))
FLUX = ROOT / "recipes" / "flux.1-dev.yaml"


def opened_recipe(path: Path) -> Loaded:
    """Read a recipe."""
    return load(path, Vocabulary(SCHEMES, frozenset(templates()), TASKS))


def source_of(path: Path) -> HubSource:
    """Return the source of a recipe, which lies on the Hub."""
    source = opened_recipe(path).recipe.source
    assert isinstance(source, HubSource)
    return source


def described(wanted: Iterable[tuple[str, bool]]) -> list[dict[str, Any]]:
    """Ask the libraries for the shapes of repositories, each whole or shallow."""
    asked = [sys.executable, "-m", "tests.recipes.shapes"]
    said = subprocess.run(asked, input=json.dumps([*wanted]), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(said.stdout)
    return found


def stock(folder: Path, recipes: list[Path]) -> None:
    """Fill the folder of a Hub with what these recipes name: their sources and the models that judge."""
    sources = {source.repo: source.revision for source in map(source_of, recipes)}
    shapes = described((repository, False) for repository in sources)
    for (repository, commit), parts in zip(sources.items(), shapes, strict=True):
        write(folder / "made" / repository, repository, parts)
        shelve(folder / "hub", repository, commit, folder / "made" / repository)
    judges = {pair for path in recipes for pair in opened_recipe(path).recipe.validation.require.judged.values()}
    for repository, commit in judges:
        made = folder / "made" / repository
        made.mkdir(parents=True)
        (made / "config.json").write_text("{}\n")
        assert commit, "a judge has no commit"
        shelve(folder / "hub", repository, commit, made)
    asked = [opened_recipe(path).recipe.validation.prompts for path in recipes]
    for dataset in {one.dataset: one for one in asked if isinstance(one, DatasetPrompts)}.values():
        made = folder / "made" / dataset.dataset
        write_rows(made, dataset)
        shelve(folder / "hub", dataset.dataset, dataset.revision, made, "datasets")


def write_rows(folder: Path, asked: DatasetPrompts) -> None:
    """Write a dataset of clips with texts, in the columns that are asked for."""
    from datasets import Dataset

    tones = [np.sin(np.arange(1600) * (at + 1) / 50) for at in range(12)]
    table = {asked.column: [f"clip {at}" for at in range(len(tones))]}
    table |= {name: ["what is said"] * len(tones) for name in (asked.label,) if name}
    for name in asked.files.values():
        table[name] = [{"bytes": sounding(tone), "path": f"{at}.wav"} for at, tone in enumerate(tones)]  # type: ignore[misc]
    where = folder / (asked.config or "data")
    where.mkdir(parents=True)
    Dataset.from_dict(table).to_parquet(where / f"{asked.split}-00000-of-00001.parquet")
    config = {
        "config_name": asked.config or "default",
        "data_files": [{"split": asked.split, "path": f"{where.name}/*"}],
    }
    (folder / "README.md").write_text(f"---\n{json.dumps({'configs': [config]})}\n---\n")


def sounding(tone: Any) -> bytes:
    """Return a sound as WAV of 16,000 samples a second."""
    made = io.BytesIO()
    wavfile.write(made, 16_000, (tone * 20_000).astype(np.int16))
    return made.getvalue()


def read_so_far() -> int:
    """Return the bytes that this process, which serves the Hub, and the children that ended have read of anything."""
    return int(re.findall(r"rchar: (\d+)", Path("/proc/self/io").read_text())[0])


@contextmanager
def desk_at(root: Path, folder: Path, answers: Path) -> Iterator[Desk]:
    """Serve a Hub's folder, of which the test reads alone."""
    with running(root, tokens=TOKENS) as endpoint:
        yield Desk(folder, Shelf(endpoint, root, ""), home_in(folder, answers))


@pytest.fixture
def flux(tmp_path: Path, answers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk beside a Hub that has FLUX.1-dev."""
    folder = once(tmp_path_factory, "flux", lambda folder: stock(folder, [FLUX]))
    with desk_at(folder / "hub", tmp_path, answers) as desk:
        yield desk


@pytest.fixture
def every(tmp_path: Path, answers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk beside a Hub that has the sources of all recipes."""
    folder = once(tmp_path_factory, "every", lambda folder: stock(folder, RECIPES))
    with desk_at(folder / "hub", tmp_path, answers) as desk:
        yield desk


@pytest.fixture(scope="session")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The shapes of each source as wide as it is and one layer of each kind deep."""

    def make(folder: Path) -> None:
        shapes = described((repository, True) for repository in FAMILIES)
        (folder / "shapes.json").write_text(json.dumps(dict(zip(FAMILIES, shapes, strict=True))))

    found: dict[str, Any] = json.loads((once(tmp_path_factory, "shallow", make) / "shapes.json").read_text())
    return found
