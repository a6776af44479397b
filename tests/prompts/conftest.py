"""A Hub that has the source and two datasets, and a user whose recipe takes its prompts from them."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import CommitOperationAdd

from localhub.server import running
from tests.desk import TOKENS, Desk, Done, Shelf, home_in, opened, seat

TABLE = "acme/table"
LINES = "acme/lines"
CARD = b"""---
configs:
- config_name: short
  data_files: short/*.jsonl
- config_name: long
  data_files:
  - split: val
    path: long/val.jsonl.gz
---
"""
TEXTS = [f"a {colour} {thing}" for thing in ("cat", "dog", "hat") for colour in ("red", "blue", "green", "black")]
SAMPLE = {"label": "Category", "sample": 3, "seed": 5}
IMPORTED = """
import sys
from pipeline.cli import main
try:
    main()
finally:
    print(sorted({"torch", "datasets"} & {*sys.modules}))
"""
Library = tuple[Path, dict[str, str]]


class Shown(NamedTuple):
    done: Done
    home: Path


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def push(shelf: Shelf, repo: str, files: Mapping[str, bytes], **options: Any) -> str:
    """Commit files to a dataset of the Hub and return the commit."""
    shelf.api.create_repo(repo, repo_type="dataset", exist_ok=True, **options)
    added = [CommitOperationAdd(name, content) for name, content in files.items()]
    return str(shelf.api.create_commit(repo, added, commit_message="Add rows", repo_type="dataset").oid)


@pytest.fixture(scope="session")
def library(stocked: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The folder of a Hub that has the datasets too, and the commit of each."""
    root = tmp_path_factory.mktemp("library") / "hub"
    shutil.copytree(stocked.root, root, symlinks=True)
    with running(root, tokens=TOKENS) as endpoint:
        shelf = Shelf(endpoint, root, stocked.commit)
        table = {
            "data/train-00000-of-00002.parquet": parquet(Prompt=TEXTS[:7], n=list(range(7)), Category=["x"] * 7),
            "data/train-00001-of-00002.parquet": parquet(Prompt=TEXTS[5:], n=list(range(7)), Category=["y"] * 7),
            "data/test-00000-of-00001.parquet": parquet(Prompt=["not asked"], n=[0], Category=["z"]),
            "pictures/0.png": b"no table" * 1000,
        }
        lines = {
            "README.md": CARD,
            "short/train.jsonl": b'{"text": "one"}\n{"text": "two", "about": 1}\n',
            "long/val.jsonl.gz": gzip.compress(
                b'{"text": "a cat", "label": "cat"}\n{"text": "a dog", "label": "dog"}\n'
            ),
        }
        commits = {TABLE: push(shelf, TABLE, table), LINES: push(shelf, LINES, lines)}
        moved = {"data/train-00000-of-00002.parquet": parquet(Prompt=["of main today"], n=[0], Category=["x"])}
        push(shelf, TABLE, moved)  # main moves on, and the pinned commit stays
    return root, commits


@pytest.fixture
def shelf(library: Library, stocked: Shelf, tmp_path: Path) -> Iterator[Shelf]:
    shutil.copytree(library[0], tmp_path / "hub", symlinks=True)
    with opened(tmp_path / "hub", stocked) as running_shelf:
        yield running_shelf


@pytest.fixture(scope="session")
def shown(library: Library, stocked: Shelf, answers: Path, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """What the command says of the table's recipe, and the home in which it was planned."""
    folder = tmp_path_factory.mktemp("shown")
    shutil.copytree(library[0], folder / "hub", symlinks=True)
    with opened(folder / "hub", stocked) as shelf:
        desk = Desk(folder, shelf, home_in(folder, answers))
        done = subprocess.run(
            [sys.executable, "-c", IMPORTED, "plan", "--json", str(write_recipe(desk, library[1], **SAMPLE))],
            cwd=folder,
            env=desk.environment,
            capture_output=True,
            text=True,
            check=False,
        )
    return Shown(Done(done.returncode, done.stdout, done.stderr), desk.home)


@pytest.fixture
def desk(shelf: Shelf, answers: Path, tmp_path: Path) -> Desk:
    """A user whose home is new, except for what libraries said to others."""
    return seat(tmp_path, shelf, answers)


@pytest.fixture
def again(desk: Desk, shown: Shown) -> Desk:
    """The user who planned the table's recipe before."""
    shutil.rmtree(desk.home)
    shutil.copytree(shown.home, desk.home)
    return desk


@pytest.fixture
def asking(desk: Desk, library: Library) -> Callable[..., Path]:
    """Write a recipe whose prompts come from a dataset: from the table by default."""
    return partial(write_recipe, desk, library[1])


def write_recipe(
    desk: Desk, commits: Mapping[str, str], dataset: str = TABLE, destination: Any = None, **words: Any
) -> Path:
    clause = {"dataset": dataset, "revision": commits.get(dataset, "0" * 40), "split": "train", "column": "Prompt"}
    return desk.recipe(prompts={**clause, **words}, destination=destination)
