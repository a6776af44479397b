"""Which files a recipe depends on, and which recipes a change of files is about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.errors import RecipeError
from pipeline.fleet.reach import UNBORN, changed_since, reached, touched
from pipeline.recipe import Vocabulary, load
from pipeline.tasks import TASKS

ROOT = Path(__file__).parents[2]
WORDS = Vocabulary(SCHEMES, frozenset(templates()), TASKS)
RECIPE = """
source: {path: source}
task: image-to-image
destination: {namespace: my-org}
targets: {bnb-nf4: {transformer: {backend: bitsandbytes, scheme: nf4}}}
loras: [{path: loras/style.safetensors, how: fused}]
validation:
  prompts: asked/prompts.jsonl
  seeds: [0]
  require:
    psnr: {min: 18}
    clip_similarity: {model: ./clip, min: 0.9}
card: {template: image-to-image}
"""
OTHER = RECIPE.replace("asked/prompts.jsonl", "asked/other.jsonl").replace("image-to-image", "inpainting")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout's folder with two recipes that share all but their prompts and their template."""
    line = {"prompt": "a fox", "image": "fox.png"}
    texts = {
        "one.yaml": RECIPE,
        "two.yaml": OTHER,
        "source/model_index.json": '{"transformer": ["diffusers", "T"]}',
        "loras/style.safetensors": "",
        "clip/config.json": "{}",
        "asked/prompts.jsonl": json.dumps(line),
        "asked/other.jsonl": json.dumps({**line, "mask_image": "sky.png"}),
        "asked/fox.png": "",
        "asked/sky.png": "",
        "README.md": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def about(folder: Path, *changed: str | Path) -> list[str]:
    recipes = [folder / "one.yaml", folder / "two.yaml"]
    return [path.stem for path in touched(recipes, [folder / name for name in changed], WORDS)]


def test_a_recipe_reaches_all_that_it_names_and_what_is_named_there(folder: Path) -> None:
    named = {"one.yaml", "source", "loras/style.safetensors", "clip", "asked/prompts.jsonl", "asked/fox.png"}
    cards = {ROOT / "cards" / name for name in ("image-to-image.md.jinja", "base.md.jinja", "diffusers.py.jinja")}
    found = reached(load(folder / "one.yaml", WORDS))
    assert {path for path in found if path.is_relative_to(folder)} == {folder / name for name in named}
    assert cards <= found
    assert ROOT / "cards" / "inpainting.md.jinja" not in found


@pytest.mark.parametrize(
    ("changed", "recipes"),
    [
        ("one.yaml", ["one"]),
        ("source/transformer/config.json", ["one", "two"]),
        ("loras/style.safetensors", ["one", "two"]),
        ("clip/config.json", ["one", "two"]),
        ("asked/prompts.jsonl", ["one"]),
        ("asked/fox.png", ["one", "two"]),
        ("asked/sky.png", ["two"]),
        (ROOT / "cards" / "inpainting.md.jinja", ["two"]),
        (ROOT / "cards" / "base.md.jinja", ["one", "two"]),
        ("README.md", []),
    ],
    ids=str,
)
def test_a_changed_file_touches_the_recipes_that_depend_on_it(folder: Path, changed: str, recipes: list[str]) -> None:
    assert about(folder, changed) == recipes


def test_what_is_gone_and_what_cannot_be_read_touches_too(folder: Path) -> None:
    (folder / "asked" / "sky.png").unlink()
    assert about(folder, "README.md") == ["two"]  # whose prompts name it


def test_an_included_file_touches_the_recipes_that_include_it(folder: Path) -> None:
    (folder / "_common.yaml").write_text("loras: [{path: loras/style.safetensors, how: loaded}]\n")
    (folder / "one.yaml").write_text(f"include: _common.yaml{RECIPE}")
    assert about(folder, "_common.yaml") == ["one"]


def test_an_included_file_below_the_recipes_is_none_of_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".git").mkdir()
    for name in ("_common.yaml", "one.yaml", "my_two.yml", "deeper/_common.yml"):
        (folder / "recipes" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "recipes" / name).touch()
    monkeypatch.chdir(folder / "asked")
    found = Session(Console("people"), None, tracebacks=False).recipes(None)
    assert [path.name for path in found] == ["my_two.yml", "one.yaml"]
    given = [folder / "recipes" / name for name in ("_common.yaml", "one.yaml")]
    assert Session(Console("people"), None, tracebacks=False).recipes(given) == given[1:]


def test_a_part_is_told_to_be_one_with_a_recipe_that_includes_it(folder: Path) -> None:
    part = folder / "_part.yaml"
    part.write_text("task: image-to-image\n")
    said = publish(folder, "check", "_part.yaml")
    assert (said.returncode, "_part.yaml is a part that recipes include: no recipe" in said.stdout) == (0, True)
    (folder / "two.yaml").write_text(RECIPE.replace("task: image-to-image", "include: _part.yaml"))
    assert "`publish plan two.yaml` plans one with it" in publish(folder, "check", "_part.yaml").stdout
    refused = publish(folder, "plan", "_part.yaml")
    assert refused.returncode == RecipeError.exit_code
    assert refused.stderr.splitlines()[-1] == (
        "error: _part.yaml: This is a part that recipes include, and no recipe. Name a recipe: `publish plan two.yaml` "
        "plans one with it."
    )


def publish(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_link_and_what_it_leads_to_are_both_reached(folder: Path) -> None:
    (folder / "asked" / "prompts.jsonl").rename(folder / "elsewhere.jsonl")
    (folder / "asked" / "prompts.jsonl").symlink_to("../elsewhere.jsonl")
    assert about(folder, "elsewhere.jsonl") == about(folder, "asked/prompts.jsonl") == ["one"]


@pytest.fixture
def checkout(folder: Path) -> Path:
    for words in (["init", "-q"], ["add", "--all"], ["commit", "-qm", "all"]):
        subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b.org", *words], cwd=folder, check=True)
    return folder


def test_what_differs_from_a_commit_are_changes_removals_and_new_files(checkout: Path) -> None:
    assert changed_since("HEAD", checkout) == []
    (checkout / "README.md").write_text("changed")
    (checkout / "asked" / "fox.png").rename(checkout / "wölf\n.png")
    found = {checkout / "README.md", checkout / "asked" / "fox.png", checkout / "wölf\n.png"}
    assert set(changed_since("HEAD", checkout / "asked")) == found
    subprocess.run(["git", "mv", "one.yaml", "moved.yaml"], cwd=checkout, check=True)
    found |= {checkout / "one.yaml", checkout / "moved.yaml"}  # and not only what it is called now
    assert set(changed_since("HEAD", checkout)) == found
    assert changed_since(UNBORN, checkout) is None


def test_a_commit_that_is_not_there_is_told_with_what_to_do(checkout: Path) -> None:
    for strange in ("nowhere", "--output=x"):
        with pytest.raises(RecipeError, match=r"Name a commit, branch or tag that this checkout has.*`git fetch` gets"):
            changed_since(strange, checkout)
    assert not (checkout / "x").exists()


def test_a_checkout_that_lacks_history_is_told_how_to_get_it(checkout: Path, tmp_path: Path) -> None:
    (checkout / "again").touch()
    for words in (
        ["add", "--all"],
        ["commit", "-qm", "again"],
        ["clone", "-q", "--depth=1", f"file://{checkout}", "cut"],
    ):
        subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b.org", *words], cwd=checkout, check=True)
    with pytest.raises(RecipeError, match="git fetch --unshallow"):
        changed_since("HEAD~1", checkout / "cut")


def test_outside_a_checkout_it_is_told_where_to_be(folder: Path) -> None:
    with pytest.raises(RecipeError, match="Run it in the git checkout that has the recipes"):
        changed_since("HEAD", folder)


@pytest.mark.parametrize(("since", "lines"), [("HEAD", "two.yaml\n"), (UNBORN, "one.yaml\ntwo.yaml\n")])
def test_the_verb_lists_them_one_a_line(checkout: Path, since: str, lines: str) -> None:
    (checkout / "asked" / "other.jsonl").write_text('{"prompt": "a fox", "image": "fox.png", "mask_image": "fox.png"}')
    command = [sys.executable, "-m", "pipeline.cli", "changed", "--since", since, "one.yaml", "two.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, lines), done.stderr
