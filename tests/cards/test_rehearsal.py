"""`publish check` writes the cards of a recipe from what was recorded: a broken template is known before a run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import FunctionLoader

from pipeline.backends import SCHEMES
from pipeline.card.preview import problems
from pipeline.card.render import packaged, templates
from pipeline.fleet.reach import recipes_in
from pipeline.recipe import Vocabulary
from pipeline.tasks import TASKS

REPOSITORY = Path(__file__).parents[2]
DIGITS = REPOSITORY / "recipes" / "digits" / "recipe.yaml"
WORDS = Vocabulary(SCHEMES, frozenset(templates()), TASKS)
CARD = "text-to-image.md.jinja"
HEAVY = {"torch", "diffusers", "transformers", "numpy", "PIL", "huggingface_hub", "httpx2"}


def loader(more: str = "", usage: str = "") -> FunctionLoader:
    """Return the templates with something added to them."""
    added = {"base.md.jinja": more, "diffusers.py.jinja": usage, CARD: ""}
    found = {name: file[0] + text for name, text in added.items() if (file := packaged(name))}
    return FunctionLoader(lambda name: (found[name], f"cards/{name}", lambda: True))


@pytest.mark.parametrize("path", recipes_in(REPOSITORY / "recipes"), ids=lambda path: path.name)
def test_every_recipe_of_this_repository_gets_its_cards(path: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(path.parent, tmp_path / path.parent.name)
    (folder / "source").mkdir(exist_ok=True)  # that of MiniLM is made by a script, and so are the clips of Whisper
    for clip in re.findall(
        r'"audio": "(.*?)"', (folder / "prompts.jsonl").read_text() if folder.name == "speech" else ""
    ):
        (folder / clip).parent.mkdir(exist_ok=True)
        (folder / clip).touch()
    assert problems(folder / path.name, WORDS) == []


@pytest.mark.parametrize(
    ("more", "usage", "told"),
    [
        ("{{ speed }}", "", "'speed' is undefined"),
        ("{{ report.speed }}", "", "has no attribute 'speed'"),
        ("{% if not report.floor %}{{ silence }}{% endif %}", "", "'silence' is undefined"),
        ("{% for use in uses.lora %}{{ use.rank }}{% endfor %}", "", "has no attribute 'rank'"),
        ("{% if plan %}", "", "cannot be rendered: Unexpected end of template"),
        ("{{ report | rounded }}", "", "cannot be rendered: "),
        ("{{ plan.source_bytes | bytes }}", "", "No filter named 'bytes'"),
        ("{{ [].__class__.__mro__ }}", "", "is unsafe"),
        ("", "{{ device }}", "'device' is undefined"),
    ],
)
def test_a_broken_template_is_a_problem_where_the_recipe_names_it(more: str, usage: str, told: str) -> None:
    (problem,) = problems(DIGITS, WORDS, loader(more, usage))
    assert told.lower() in problem.text.lower()
    lines = DIGITS.read_text().splitlines()
    assert lines[problem.line - 1][problem.column - 1 :].startswith("text-to-image")


def test_a_recipe_with_problems_of_its_own_is_told_those_alone(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(DIGITS.read_text().replace("task:", "tasks:"))
    found = problems(recipe, WORDS, loader("{{ speed }}"))
    assert found
    assert not any("speed" in problem.text for problem in found)


def test_whatever_a_recipe_says_it_gets_its_cards(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        """
        source: {path: ./model-7}
        task: text-to-image
        destination: {namespace: acme, name: "{source}-v2.5-{target}"}
        targets:
          a: {transformer: {backend: quanto, scheme: int4, keep: ["*proj_out"], dtype: float16}}
          b-3.1:
            transformer: {backend: torchao, scheme: float8-weight-only}
            transformer_2: {backend: torchao, scheme: int8-weight-only}
            text_encoder: {backend: bitsandbytes, scheme: nf4}
          c: {budget: {size_ratio: 0.6}}
        loras:
          - {repo: acme/style-4.5, revision: 3fb2a1b337ac0ab5cacd2b85080ab8b16f055e20, scale: 0.5, how: loaded}
        validation:
          prompts: prompts.jsonl
          seeds: [17, 4, 99]
          call: {num_inference_steps: 28, guidance_scale: 3.5, negative_prompt: "8 `legs` | {{ 7 * 7 }}"}
          require: {psnr: {min: 20.5}}
          compile: {components: [transformer]}
        card: {template: text-to-image}
        """.replace("\n        ", "\n")
    )
    asked = ["3 cats, 1 dog at 5:45", "12", "{{ 7 * 7 }} | `x`"]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in asked))
    (tmp_path / "model-7").mkdir()
    found = [problem.text for problem in problems(recipe, WORDS)]
    assert found == []


def test_the_command_writes_them_offline_soon_and_without_what_models_weights_and_the_hub_take() -> None:
    code = (
        "import socket, sys, time\n"
        "socket.socket.connect = None\n"
        "import pipeline.cli, pipeline.card.preview as room\n"
        "began = time.process_time()\n"
        "told = room.problems\n"
        "try:\n"
        f"    sys.argv = ['publish', '--json', 'check', {str(DIGITS)!r}]\n"
        "    pipeline.cli.main()\n"
        "finally:\n"
        f"    heavy = {HEAVY} & sys.modules.keys()\n"
        "    print(time.process_time() - began, sorted(heavy), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert json.loads(done.stdout) == {"problems": []}
    seconds, heavy = done.stderr.strip().splitlines()[-1].split(" ", 1)
    assert heavy == "[]"
    assert float(seconds) < 2
