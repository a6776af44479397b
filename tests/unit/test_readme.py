"""What the README says of the program is what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from pipeline import errors
from pipeline.backends import SCHEMES
from pipeline.card.stage import templates
from pipeline.recipe import Vocabulary, problems
from pipeline.tasks import TASKS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_recipe_in_it_has_no_problems(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1])
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a cat"}\n')
    vocabulary = Vocabulary(SCHEMES, frozenset(templates()), TASKS)
    assert [str(problem) for problem in problems(tmp_path / "recipe.yaml", vocabulary)] == []


def test_its_exit_codes_are_those_of_the_errors() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {value.exit_code for value in classes if issubclass(value, errors.PublishError)}
    assert told == codes | {0, 130}


def test_its_verbs_and_schemes_exist() -> None:
    for verb in set(re.findall(r"^    publish ([\w-]+)", README, re.MULTILINE)):
        command = [sys.executable, "-m", "pipeline.cli", verb, "--help"]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0, verb
    for backend, schemes in SCHEMES.items():
        row = re.search(rf"^\| {backend} \|.*$", README, re.MULTILINE)[0]
        assert [scheme for scheme in schemes if f"`{scheme}`" not in row] == []


def test_its_pictures_and_links_are_there() -> None:
    for place in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / place).exists(), place


def test_every_package_of_the_tree_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = [path for name in ("pipeline", "localhub") for path in (ROOT / name).rglob("__init__.py")]
    there = {path.parent.relative_to(ROOT).as_posix() for path in found}
    listed = {name.replace(".", "/") for name in project["tool"]["setuptools"]["packages"]}
    assert listed == there | {"pipeline/cards"}
