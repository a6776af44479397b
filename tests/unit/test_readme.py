"""What the README and the pages in docs say of the program is what the program does."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import errors
from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.recipe import Vocabulary, problems
from pipeline.tasks import TASKS
from tests.start.pages import PAGES, ROOT, parsed, typed_in, verbs

README = (ROOT / "README.md").read_text()
RECIPES = (ROOT / "docs" / "recipes.md").read_text()


def test_the_recipe_in_it_has_no_problems(tmp_path: Path) -> None:
    (written,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(written)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a cat"}\n')
    vocabulary = Vocabulary(SCHEMES, frozenset(templates()), TASKS)
    assert [str(problem) for problem in problems(tmp_path / "recipe.yaml", vocabulary)] == []


def test_exit_codes_are_those_of_the_errors() -> None:
    page = (ROOT / "docs" / "publishing.md").read_text()
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {value.exit_code for value in classes if issubclass(value, errors.PublishError)}
    assert told == codes | {0, 130}


def test_every_verb_has_a_line() -> None:
    assert sorted(set(re.findall(r"^    publish ([\w-]+)", README, re.MULTILINE))) == sorted(verbs())


def test_every_scheme_is_in_its_backend_s_row() -> None:
    page = (ROOT / "docs" / "choosing.md").read_text()
    for backend, schemes in SCHEMES.items():
        row = re.search(rf"^\| {backend} \|.*$", page, re.MULTILINE)[0]
        assert [scheme for scheme in schemes if f"`{scheme}`" not in row] == []


def test_every_task_has_a_row() -> None:
    rows = re.findall(r"^\| ([\w-]+) \| `\w+` \|", RECIPES, re.MULTILINE)
    assert sorted(rows) == sorted(TASKS)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_are_such_as_the_program_takes(page: Path) -> None:
    for command in typed_in(page):
        parsed(command)


def anchors(text: str) -> set[str]:
    """Return what GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, Path("CONTRIBUTING.md")], ids=str)
def test_pictures_and_links_are_there(page: Path) -> None:
    here = ROOT / page
    for place, anchor in re.findall(r"\]\(([^)#:]+)(?:#([^)]*))?\)", here.read_text()):
        assert (here.parent / place).exists(), place
        if anchor:
            assert anchor in anchors((here.parent / place).read_text())


def test_every_page_is_named_by_the_readme() -> None:
    assert [page for page in PAGES if page.parent.name == "docs" and f"]({page})" not in README] == []


def properties(schema: dict[str, Any], node: dict[str, Any], at: str = "") -> Iterator[str]:
    """Return the paths of all keys that a node of the schema has; where users choose a name, it is `<>`."""
    if "$ref" in node:
        yield from properties(schema, schema["$defs"][node["$ref"].rpartition("/")[2]], at)
    for choice in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from properties(schema, choice, at)
    if "items" in node:
        yield from properties(schema, node["items"], at)
    for named in node.get("patternProperties", {}).values() if at.startswith("targets") else ():
        yield from properties(schema, named, f"{at}.<>")
    for key, value in node.get("properties", {}).items():
        path = f"{at}.{key}".removeprefix(".")
        yield path
        yield from properties(schema, value, path)


def explained(page: str) -> list[str]:
    """Return the keys that a page explains: in headings of nothing else, and in rows, which may have keys in braces."""
    found, above = [], ""
    for line in page.splitlines():
        if heading := re.match(r"#+ `([^`]+):`(.*)", line):
            above, words = heading.groups()
            found += [] if words else [above]
        elif row := re.match(r"\| (`[^|]*`) \|", line):
            for key in re.findall(r"`([^`]+)`", row[1]):
                found += [f"{above}.{path}" for path in flat(YAML(typ="safe").load(f"{{{key}}}"))]
    return found


def flat(keys: dict[str, Any]) -> Iterator[str]:
    """Return the paths of keys in keys."""
    for key, below in keys.items():
        yield key
        yield from (f"{key}.{path}" for path in flat(below or {}))


def test_every_key_of_a_recipe_is_explained_once() -> None:
    schema = json.loads((ROOT / "recipes" / "recipe.schema.json").read_text())
    keys = set(properties(schema, schema))
    told = [re.sub(r"<\w+>", "<>", path) for path in explained(RECIPES)]
    assert sorted(told) == sorted(keys)


def test_every_package_of_the_tree_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = [path for name in ("pipeline", "localhub") for path in (ROOT / name).rglob("__init__.py")]
    there = {path.parent.relative_to(ROOT).as_posix() for path in found}
    listed = {name.replace(".", "/") for name in project["tool"]["setuptools"]["packages"]}
    assert listed == there | {"pipeline/cards"}
