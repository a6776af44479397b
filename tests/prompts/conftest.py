"""A Hub that has the source and two datasets, and a user whose recipe takes its prompts from them."""

from __future__ import annotations

import gzip
import io
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import CommitOperationAdd

from pipeline.hub.local import running
from tests.desk import TOKENS, Desk, Shelf, opened

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
Push = Callable[..., str]


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
def library(stocked: Shelf, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
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
def shelf(library: tuple[Path, dict[str, str]], stocked: Shelf, tmp_path: Path) -> Iterator[Shelf]:
    shutil.copytree(library[0], tmp_path / "hub", symlinks=True)
    with opened(tmp_path / "hub", stocked) as running_shelf:
        yield running_shelf


@pytest.fixture
def desk(shelf: Shelf, answers: Path, tmp_path: Path) -> Iterator[Desk]:
    home = tmp_path / "home"
    shutil.copytree(answers, home / "answers")
    folder = tmp_path / "desk"
    folder.mkdir()
    yield Desk(folder, shelf, home)
    shutil.copytree(home / "answers", answers, dirs_exist_ok=True)


@pytest.fixture
def asking(desk: Desk, library: tuple[Path, dict[str, str]]) -> Callable[..., Path]:
    """Write a recipe whose prompts come from a dataset; the table's by default, others by their words."""

    def write(dataset: str = TABLE, *, require: Any = None, name: str = "recipe.yaml", **words: Any) -> Path:
        column = {"split": "train", "column": "Prompt"}
        clause = {"dataset": dataset, "revision": library[1].get(dataset, "0" * 40), **column, **words}
        return desk.recipe(prompts=clause, require=require, name=name)

    return write
