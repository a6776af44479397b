"""Which recipes a pull request or a push is about, tried in repositories of their own with the Makefile as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOOD = (ROOT / "tests" / "recipe" / "good.yaml").read_text(encoding="utf-8")
CHANGED = GOOD.replace("28", "30")
PROMPTS = (ROOT / "tests" / "recipe" / "prompts.jsonl").read_text(encoding="utf-8")
PUBLISH = """#!/bin/sh
printf '%s|' "$@" >>calls
echo >>calls
case $2 in *bad*) exit 2 ;; esac
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

    def changed(self, base: str, *command: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.folder / ".github" / "changed-recipes", base, *command)

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
    publish = made.folder / ".venv" / "bin" / "publish"
    publish.parent.mkdir(parents=True)
    publish.write_text(PUBLISH, encoding="utf-8")
    publish.chmod(0o755)
    (made.folder / ".gitignore").write_text(".venv/\ncalls\n", encoding="utf-8")
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


def listed(checkout: Checkout, base: str) -> list[str]:
    done = checkout.changed(base)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_added_and_a_changed_recipe_are_listed(checkout: Checkout) -> None:
    base = checkout.git("rev-parse", "HEAD")
    checkout.commit({"recipes/new.yaml": GOOD, "recipes/deep/sana.yaml": CHANGED, "recipes/short.yml": GOOD})
    assert listed(checkout, base) == ["recipes/deep/sana.yaml", "recipes/new.yaml", "recipes/short.yml"]


def test_all_commits_since_the_base_count(checkout: Checkout) -> None:
    base = checkout.git("rev-parse", "HEAD")
    checkout.commit({"recipes/a.yaml": GOOD})
    checkout.commit({"recipes/b.yaml": GOOD})
    assert listed(checkout, base) == ["recipes/a.yaml", "recipes/b.yaml"]
    assert listed(checkout, "HEAD^1") == ["recipes/b.yaml"]


def test_a_deleted_recipe_is_not_listed(checkout: Checkout) -> None:
    base = checkout.git("rev-parse", "HEAD")
    checkout.commit({"recipes/flux.yaml": None})
    assert listed(checkout, base) == []


def test_a_renamed_recipe_is_listed_under_its_new_name(checkout: Checkout) -> None:
    base = checkout.git("rev-parse", "HEAD")
    checkout.git("mv", "recipes/flux.yaml", "recipes/flux.1-dev.yaml")
    checkout.commit({})
    assert listed(checkout, base) == ["recipes/flux.1-dev.yaml"]


def test_what_is_no_recipe_is_not_listed(checkout: Checkout) -> None:
    base = checkout.git("rev-parse", "HEAD")
    others = ["README.md", "other/flux.yaml", "flux.yaml", "tests/recipes/flux.yaml", "recipes/prompts.jsonl"]
    others += ["recipes/recipe.schema.json", "recipes/digits/recipe.yaml", "recipes/flux.yaml.txt"]
    checkout.commit(dict.fromkeys(others, "changed"))
    assert listed(checkout, base) == []


def test_work_that_is_not_committed_does_not_count(checkout: Checkout) -> None:
    (checkout.folder / "recipes" / "flux.yaml").write_text(CHANGED, encoding="utf-8")
    assert listed(checkout, "HEAD") == []


def test_what_a_pull_request_is_merged_into_is_not_its_change(checkout: Checkout) -> None:
    checkout.git("switch", "--quiet", "--create", "proposal")
    checkout.commit({"recipes/proposed.yaml": GOOD})
    checkout.git("switch", "--quiet", "main")
    checkout.commit({"recipes/meanwhile.yaml": GOOD})
    checkout.git("merge", "--quiet", "--no-edit", "proposal")
    assert listed(checkout, "HEAD^1") == ["recipes/proposed.yaml"]


def test_before_the_first_push_there_was_nothing(checkout: Checkout) -> None:
    assert listed(checkout, "0" * 40) == ["recipes/deep/sana.yaml", "recipes/flux.yaml"]


@pytest.mark.parametrize("base", ["", "nowhere", "f" * 40, "--output=stolen"])
def test_a_base_that_is_no_commit_fails(checkout: Checkout, base: str) -> None:
    done = checkout.changed(base, "touch", "called")
    assert done.returncode != 0
    assert done.stderr
    assert not {"called", "stolen"} & {path.name for path in checkout.folder.iterdir()}


@pytest.mark.parametrize("name", ["with two  spaces", "$(touch stolen)", "quote'\"", "ünïcode", "new\nline", "-n;ls"])
def test_a_name_reaches_the_command_as_it_is(checkout: Checkout, name: str) -> None:
    base = checkout.git("rev-parse", "HEAD")
    checkout.commit({f"recipes/{name}.yaml": GOOD})
    assert checkout.changed(base, ".venv/bin/publish", "check").returncode == 0
    assert "\n".join(checkout.calls()) == f"check|recipes/{name}.yaml|"
    assert not (checkout.folder / "stolen").exists()


def test_every_recipe_is_tried_and_one_failure_fails_the_whole(checkout: Checkout) -> None:
    base = checkout.git("rev-parse", "HEAD")
    checkout.commit({"recipes/a-bad.yaml": GOOD, "recipes/b.yaml": GOOD})
    assert checkout.changed(base, ".venv/bin/publish", "check").returncode != 0
    assert checkout.calls() == ["check|recipes/a-bad.yaml|", "check|recipes/b.yaml|"]


def test_without_a_changed_recipe_nothing_is_called(checkout: Checkout) -> None:
    assert checkout.changed("HEAD", ".venv/bin/publish", "check").returncode == 0
    assert checkout.calls() == []


@pytest.fixture
def made(checkout: Checkout) -> Checkout:
    shutil.copy(ROOT / "Makefile", checkout.folder)
    python = checkout.folder / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return checkout


@pytest.mark.parametrize("verb", ["check", "plan"])
def test_make_changed_runs_the_verb_and_fails_with_it(made: Checkout, verb: str) -> None:
    base = made.git("rev-parse", "HEAD")
    made.commit({"recipes/my flux.yaml": GOOD})
    done = made.make("changed", f"VERB={verb}", BASE=base)
    assert done.returncode == 0, done.stderr
    assert made.calls() == [f"{verb}|recipes/my flux.yaml|"]
    made.commit({"recipes/bad.yaml": GOOD})
    assert made.make("changed", f"VERB={verb}", BASE="HEAD^1").returncode != 0


@pytest.mark.parametrize(
    "base", ["", "HEAD touch stolen", "$(touch stolen)", "'; touch stolen; '", '"; touch stolen; "']
)
def test_make_changed_does_not_execute_its_base(made: Checkout, base: str) -> None:
    assert made.make("changed", "VERB=check", BASE=base).returncode != 0
    assert not (made.folder / "stolen").exists()


def releases(made: Checkout, **environment: str) -> list[tuple[str, str, str]]:
    output = made.folder / "output"
    output.unlink(missing_ok=True)
    done = made.make("releases", GITHUB_OUTPUT=str(output), **environment)
    assert done.returncode == 0, done.stderr
    name, _, value = output.read_text(encoding="utf-8").partition("=")
    assert name == "releases"
    assert value.count("\n") == 1
    return [(entry["recipe"], entry["target"], entry["repository"]) for entry in json.loads(value)]


def test_a_push_releases_every_target_of_what_it_changed(made: Checkout) -> None:
    base = made.git("rev-parse", "HEAD")
    made.commit({"recipes/deep/sana.yaml": CHANGED.replace("my-org", "other-org")})
    # GitHub sets the inputs of a dispatch to nothing on a push.
    assert releases(made, BASE=base, RECIPE="", TARGET="") == [
        ("recipes/deep/sana.yaml", "bnb-nf4", "other-org/FLUX.1-dev-bnb-nf4"),
        ("recipes/deep/sana.yaml", "torchao-int8", "other-org/FLUX.1-dev-torchao-int8"),
    ]


def test_a_push_that_changed_no_recipe_releases_nothing(made: Checkout) -> None:
    assert releases(made, BASE="HEAD") == []


def test_a_person_releases_what_was_asked_for(made: Checkout) -> None:
    both = releases(made, BASE="", RECIPE="recipes/flux.yaml", TARGET="")
    assert [target for _, target, _ in both] == ["bnb-nf4", "torchao-int8"]
    one = releases(made, BASE="", RECIPE="recipes/flux.yaml", TARGET="torchao-int8")
    assert one == [("recipes/flux.yaml", "torchao-int8", "my-org/FLUX.1-dev-torchao-int8")]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"RECIPE": "recipes/flux.yaml", "TARGET": "bnb-nf5"}, "no target 'bnb-nf5'"),
        ({"RECIPE": "recipes/none.yaml"}, "none.yaml"),
        ({"RECIPE": "$(touch stolen)"}, "$(touch stolen)"),
        ({"BASE": "nowhere"}, "single revision"),
        ({}, "a commit to compare with"),
    ],
)
def test_what_cannot_be_released_says_why(made: Checkout, asked: dict[str, str], said: str) -> None:
    output = made.folder / "output"
    done = made.make("releases", GITHUB_OUTPUT=str(output), **asked)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not output.exists()
    assert not (made.folder / "stolen").exists()
