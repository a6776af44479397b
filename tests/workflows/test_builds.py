"""Which recipes a pull request or a push is about, and where they are built, tried with the Makefile as it is."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.desk import Desk, Shelf, home_in, opened

ROOT = Path(__file__).parents[2]
GOOD = (ROOT / "tests" / "recipe" / "good.yaml").read_text(encoding="utf-8")
CHANGED = GOOD.replace("28", "30")
PROMPTS = (ROOT / "tests" / "recipe" / "prompts.jsonl").read_text(encoding="utf-8")
PUBLISH = """#!/bin/sh
case "$1" in changed) exec {python} -m pipeline.cli "$@" ;; esac
printf '%s|' "$@" >>calls
echo >>calls
case "$*" in *bad*) exit 2 ;; esac
"""


@dataclass(frozen=True)
class Checkout:
    folder: Path

    def run(self, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        # Neither a `make` or a git hook that runs these tests, nor anyone's configuration, has a say in them.
        ours = ("GIT_", "MAKE", "MFLAGS", "GITHUB_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        clean |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C", **environment}
        return subprocess.run(words, cwd=self.folder, env=clean, capture_output=True, text=True, check=False)

    def git(self, *words: str) -> str:
        done = self.run("git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, files: dict[str, str | None]) -> str:
        for name, text in files.items():
            path = self.folder / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        return self.git("rev-parse", "HEAD")

    def make(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        # The environment is this one's: what would install it counts as up to date.
        return self.run("make", "--old-file=.venv/.ready", *words, **environment)

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path / "checkout")
    shutil.copytree(ROOT / ".github", made.folder / ".github")
    shutil.copy(ROOT / "Makefile", made.folder)
    publish, python = (made.folder / ".venv" / "bin" / name for name in ("publish", "python"))
    publish.parent.mkdir(parents=True)
    listing = PUBLISH.replace("{python}", sys.executable)
    for command, text in {publish: listing, python: f'#!/bin/sh\nexec {sys.executable} "$@"\n'}.items():
        command.write_text(text, encoding="utf-8")
        command.chmod(0o755)
    (made.folder / ".gitignore").write_text(".venv/\ncalls\noutput\n__pycache__/\n", encoding="utf-8")
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit(
        {
            "recipes/flux.yaml": GOOD,
            "recipes/deep/sana.yaml": GOOD.replace("my-org", "other-org"),
            "recipes/prompts.jsonl": PROMPTS,
            "recipes/deep/prompts.jsonl": PROMPTS,
            "recipes/recipe.schema.json": "{}",
            "recipes/digits/recipe.yaml": GOOD,
        }
    )
    return made


@pytest.fixture
def desk(stocked: Shelf, answers: Path, tmp_path: Path) -> Iterator[Desk]:
    shutil.copytree(stocked.root, tmp_path / "hub", symlinks=True)
    with opened(tmp_path / "hub", stocked) as shelf:
        yield Desk(tmp_path, shelf, home_in(tmp_path / "desk", answers))


def listed(checkout: Checkout, base: str) -> list[str]:
    (checkout.folder / "calls").unlink(missing_ok=True)
    done = checkout.make("changed", BASE=base)
    assert done.returncode == 0, done.stderr
    return [recipe for call in checkout.calls() for recipe in call.removesuffix("|").split("|")[3:]]


def test_what_a_change_is_about_is_what_depends_on_it_but_for_what_is_demonstrated(checkout: Checkout) -> None:
    # Which files a recipe depends on is tried in tests/fleet/test_reach.py.
    base = checkout.git("rev-parse", "HEAD")
    checkout.commit(
        {
            "recipes/new.yml": GOOD,
            "recipes/_shared.yaml": "task: text-to-image",
            "recipes/deep/prompts.jsonl": PROMPTS + '{"prompt": "another"}\n',
            "recipes/digits/recipe.yaml": CHANGED,
            "README.md": "changed",
        }
    )
    assert listed(checkout, base) == ["recipes/deep/sana.yaml", "recipes/new.yml"]
    assert listed(checkout, "HEAD") == []
    assert listed(checkout, "0" * 40) == ["recipes/deep/sana.yaml", "recipes/flux.yaml", "recipes/new.yml"]


def test_what_a_pull_request_is_merged_into_is_not_its_change(checkout: Checkout) -> None:
    checkout.git("switch", "--quiet", "--create", "proposal")
    checkout.commit({"recipes/proposed.yaml": GOOD})
    checkout.git("switch", "--quiet", "main")
    checkout.commit({"recipes/meanwhile.yaml": GOOD})
    checkout.git("merge", "--quiet", "--no-edit", "proposal")
    assert listed(checkout, "HEAD^1") == ["recipes/proposed.yaml"]


@pytest.mark.parametrize(
    "base", ["", "nowhere", "--output=stolen", "HEAD touch stolen", "$(touch stolen)", '"; touch stolen; "']
)
def test_a_base_that_is_no_commit_fails_and_is_not_executed(checkout: Checkout, base: str) -> None:
    done = checkout.make("changed", BASE=base)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr
    assert checkout.calls() == []
    assert not (checkout.folder / "stolen").exists()


def test_a_name_reaches_the_command_as_it_is(checkout: Checkout) -> None:
    base = checkout.git("rev-parse", "HEAD")
    names = ["with two  spaces", "$(touch stolen)", "quote'\"", "-n;ls"]
    checkout.commit({f"recipes/{name}.yaml": GOOD for name in names})
    assert checkout.make("changed", BASE=base).returncode == 0
    given = "|".join(sorted(f"recipes/{name}.yaml" for name in names))
    assert checkout.calls() == [f"check|--output-format|github|{given}|"]
    assert not (checkout.folder / "stolen").exists()


def test_every_recipe_is_checked_and_one_failure_fails_the_whole(checkout: Checkout) -> None:
    base = checkout.git("rev-parse", "HEAD")
    assert checkout.make("changed", BASE=base).returncode == 0
    assert checkout.calls() == []
    checkout.commit({"recipes/a-bad.yaml": GOOD, "recipes/b.yaml": GOOD})
    assert checkout.make("changed", BASE=base).returncode != 0
    assert checkout.calls() == ["check|--output-format|github|recipes/a-bad.yaml|recipes/b.yaml|"]


def builds(checkout: Checkout, **environment: str) -> list[tuple[str, str, str]]:
    output = checkout.folder / "output"
    output.unlink(missing_ok=True)
    done = checkout.make("builds", GITHUB_OUTPUT=str(output), **environment)
    assert done.returncode == 0, done.stderr
    name, _, value = output.read_text(encoding="utf-8").partition("=")
    assert name == "builds"
    assert value.count("\n") == 1
    return [(entry["recipe"], entry["target"], entry["runner"]) for entry in json.loads(value)]


def test_a_push_builds_what_it_changed_and_a_person_what_was_asked_for(checkout: Checkout) -> None:
    base = checkout.git("rev-parse", "HEAD")
    checkout.commit({"recipes/deep/sana.yaml": CHANGED.replace("my-org", "other-org")})
    # GitHub sets the inputs of a dispatch to nothing on a push, and what came before a push to nothing on a dispatch.
    assert builds(checkout, BASE=base, RECIPE="", TARGET="") == [("recipes/deep/sana.yaml", "", "ubuntu-latest")]
    assert builds(checkout, BASE="HEAD") == []
    asked = {"RECIPE": "recipes/flux.yaml", "TARGET": "torchao-int8"}
    assert builds(checkout, BASE="", **asked) == [("recipes/flux.yaml", "torchao-int8", "ubuntu-latest")]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"RECIPE": "recipes/flux.yaml", "TARGET": "bnb-nf5"}, "no target 'bnb-nf5'"),
        ({"RECIPE": "recipes/none.yaml"}, "none.yaml"),
        ({"RECIPE": "$(touch stolen)"}, "$(touch stolen)"),
        ({"BASE": "nowhere"}, "single revision"),
        ({"RECIPE": "recipes/flux.yaml", "RUNNERS": "gpu"}, "RUNNERS is no list of runners"),
        ({}, "single revision"),
    ],
)
def test_what_cannot_be_built_says_why(checkout: Checkout, asked: dict[str, str], said: str) -> None:
    output = checkout.folder / "output"
    done = checkout.make("builds", GITHUB_OUTPUT=str(output), **asked)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not output.exists()
    assert not (checkout.folder / "stolen").exists()


def test_a_recipe_that_cannot_be_planned_keeps_no_other_from_its_build(checkout: Checkout) -> None:
    base = checkout.git("rev-parse", "HEAD")
    checkout.commit({"recipes/bad.yaml": "source: 1\n", "recipes/new.yaml": GOOD})
    done = checkout.make("builds", BASE=base)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout.splitlines()[-1].partition("=")[2])
    assert [(each["recipe"], each["runner"]) for each in listed] == [
        ("recipes/bad.yaml", "ubuntu-latest"),  # which fails there by itself
        ("recipes/new.yaml", "ubuntu-latest"),
    ]
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("::error::")]
    assert "recipes/bad.yaml:1:9: " in told


def test_a_recipe_is_built_on_the_first_runner_that_has_what_its_plan_needs(desk: Desk) -> None:
    recipe = desk.recipe({"one": {"transformer": {"backend": "torchao", "scheme": "int4-weight-only"}}})
    enough = {"memory": 64, "disk": 100, "cuda": True}
    lacking = [{**enough, "memory": 0.1}, {**enough, "disk": 0.001}, {**enough, "cuda": False}]

    def chosen(*runners: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        named = [{"runner": f"number {at}", **one} for at, one in enumerate(runners)]
        given = {**desk.environment, "RECIPE": str(recipe), "RUNNERS": json.dumps(named)}
        command = [sys.executable, str(ROOT / ".github" / "builds.py")]
        return subprocess.run(command, cwd=desk.folder, env=given, capture_output=True, text=True, check=False)

    found = chosen(*lacking, enough, enough)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout.partition("=")[2])[0]["runner"] == "number 3"
    refused = chosen(*lacking)
    assert refused.returncode == 3
    assert re.search(r"No runner has [\d.]+ GB of memory and [\d.]+ GB of disk and CUDA,", refused.stderr)


def test_a_target_that_is_not_made_needs_no_runner(scripts: Any) -> None:
    runner_for = scripts("builds").runner_for
    small = {"runner": "small", "memory": 1, "disk": 1}
    nothing = SimpleNamespace(
        instead="8gb", memory_bytes=10**12, validation_memory_bytes=0, source_bytes=0, disk_bytes=10**12, components={}
    )
    assert runner_for([nothing], [small], "recipe.yaml") == "small"


def test_what_was_sealed_is_listed_by_the_digest_of_its_manifest(tmp_path: Path) -> None:
    for target, repository in {"b": "acme/m-b", "a": "acme/m-a"}.items():
        (tmp_path / target / "publish").mkdir(parents=True)
        (tmp_path / target / "publish" / "plan.json").write_text(
            json.dumps({"target": target, "repository": repository})
        )
        (tmp_path / target / "publish" / "manifest.json").write_text(target)
    (tmp_path / "half").mkdir()
    output = tmp_path / "output"
    command = [sys.executable, str(ROOT / ".github" / "sealed.py"), str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "GITHUB_OUTPUT": str(output)}, capture_output=True)
    assert json.loads(output.read_text().removeprefix("sealed=")) == [
        {"target": name, "repository": f"acme/m-{name}", "manifest": hashlib.sha256(name.encode()).hexdigest()}
        for name in ("a", "b")
    ]
