"""A target that fails its verdict is tuned until it passes, on digits, from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from localhub.server import running
from pipeline.errors import RecipeError
from pipeline.plan.model import TargetPlan
from pipeline.tune.search import require_unseen
from pipeline.validate.layer_swap_worker import Swap
from pipeline.validate.layer_swaps import opened
from pipeline.validate.stage import judged_before
from tests.desk import Desk, Done, Shelf, asked

pytestmark = pytest.mark.nightly

DIGITS = Path(__file__).parents[2] / "recipes" / "digits"
PROMPTS = [json.loads(line) for line in (DIGITS / "prompts.jsonl").read_text().splitlines()][::2]
CALL = {"num_inference_steps": 1, "guidance_scale": 1.0, "height": 32, "width": 32, "max_sequence_length": 8}
RECIPE = f"""\
source: {{path: {DIGITS}/source}}
task: text-to-image
destination: {{namespace: digits}}
targets:
  small:  # for phones
    transformer: {{backend: quanto, scheme: int4, keep: [x_embedder]}}
validation:
  prompts: prompts.jsonl
  seeds: [0]
  call: {json.dumps(CALL)}
  require: {{psnr: {{min: 43}}, size_ratio: {{max: LARGEST}}}}
card: {{template: text-to-image}}
"""


@dataclass(frozen=True)
class Bench:
    """A desk with the recipe, before and after it was tuned."""

    desk: Desk
    recipe: Path
    done: Done

    @property
    def tuned(self) -> dict[str, Any]:
        return self.done.lines[-1]["tuned"][0]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("tune")
    (folder / "prompts.jsonl").write_text("".join(f"{json.dumps(prompt)}\n" for prompt in PROMPTS))
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.replace("LARGEST", "0.58"))  # int8 is larger
    with running(folder / "hub") as endpoint:
        desk = Desk(folder, Shelf(endpoint, folder / "hub", ""), folder / "home", token="local")
        tune = ("--json", "tune", recipe, "--trials", "16", "--write")
        with desk.start(*tune) as killed:
            validations = (line for line in killed.stdout or () if '"validate"' in line and '"started"' in line)
            next(islice(validations, 1, None))  # the target's own is over, and the first proposal is judged
            killed.kill()
        assert recipe.read_text() == RECIPE.replace("LARGEST", "0.58")
        yield Bench(desk, recipe, desk.publish(*tune))


def test_a_kill_costs_nothing_that_was_finished(bench: Bench) -> None:
    """The target's own checkpoint and that of the first proposal are those that are there."""
    begun = [line["stage"] for line in bench.done.lines if line.get("event") == "started"]
    assert begun.count("quantize") == len(bench.tuned["attempts"]) - 1, begun


def test_what_was_proposed_is_the_smallest_that_passed_a_whole_validation(bench: Bench) -> None:
    assert bench.done.code == 0, bench.done.err
    tuned = bench.tuned
    assert tuned["verdict"] in {"FAIL", "INCONCLUSIVE"}  # whichever four prompts allow to say
    proposal = tuned["proposal"]
    assert proposal["verdict"] == "PASS"
    assert proposal["found"]["psnr"]["low"] >= 43
    assert tuned["size_ratio"] < proposal["size_ratio"] <= 0.58
    assert [one["verdict"] for one in tuned["attempts"] if one["size_ratio"] < proposal["size_ratio"]].count(
        "PASS"
    ) == 0
    assert tuned["trials"] <= 16


def test_the_winner_is_judged_on_prompts_that_the_search_did_not_see(bench: Bench) -> None:
    tuned = bench.tuned
    assert (tuned["prompts"], tuned["unseen"]) == (4, len(PROMPTS) - 4)
    plan = bench.desk.engine(bench.recipe).plan("small")[0]
    whole = judged_before(plan, bench.desk.engine(bench.recipe).store)
    assert whole is not None
    tried = {index * len(PROMPTS) // 4 for index in range(4)}
    read = [pair.values["psnr"] for pair in whole.report.pairs if pair.prompt not in tried]
    assert tuned["proposal"]["found"]["psnr"]["number"] == pytest.approx(sum(read) / len(read))


def test_too_few_prompts_to_judge_on_are_refused_before_anything_is_tried() -> None:
    require_unseen("small", 12, 4)
    with pytest.raises(RecipeError, match="tried on 4 prompts and judged on 8 others or more, and there are 11"):
        require_unseen("small", 11, 4)


def test_the_recipe_says_so_with_the_measurements_and_keeps_its_words(bench: Bench) -> None:
    text = bench.recipe.read_text()
    assert "  small:  # for phones\n" in text
    psnr = bench.tuned["proposal"]["found"]["psnr"]["number"]
    assert f"# tuned: psnr {psnr:.4g} dB" in text
    assert bench.done.lines[-1]["diff"].count("\n+") == 3  # the file's name, the remark, the component
    (kept,) = [line for line in text.splitlines() if "keep: [" in line]
    assert "x_embedder" in kept


def test_the_groups_say_what_each_brought_for_its_bytes(bench: Bench) -> None:
    groups = bench.tuned["groups"]
    assert len(groups) > 3
    assert all(group["size"] > 0 and group["layers"] > 0 for group in groups)
    worth = [group["gain"] / group["size"] for group in groups]
    assert worth == sorted(worth, reverse=True)
    assert worth[0] > 0


def test_a_target_that_passes_is_left_alone(bench: Bench) -> None:
    before = bench.recipe.read_bytes()
    again = bench.desk.publish("--json", "tune", bench.recipe, "--write")
    assert again.code == 0, again.err
    assert again.lines[-1]["tuned"][0]["verdict"] == "PASS"
    assert again.lines[-1]["tuned"][0]["trials"] == 0
    assert again.lines[-1]["diff"] == ""
    assert bench.recipe.read_bytes() == before


def test_a_layer_of_the_source_answers_while_it_is_in_place_and_not_after(bench: Bench, tmp_path: Path) -> None:
    (built,) = (bench.desk.home / "store" / "failed").glob("small-*")
    plan = TargetPlan.model_validate_json((built / "plan.json").read_bytes())
    (part,) = (part for part in bench.desk.engine(bench.recipe).asked(plan).values())
    source = DIGITS / "source" / "transformer" / "diffusion_pytorch_model.safetensors"
    swaps = [
        Swap(
            component="transformer",
            module=name.removesuffix(".weight"),
            file=str(source),
            tensor=name,
            dtype="bfloat16",
        )
        for name, conversion in part.answer.conversions.items()
        if conversion.quantized
    ]
    request = asked(*(prompt["prompt"] for prompt in PROMPTS), seeds=(0,), call=CALL)
    (reference,) = (bench.desk.home / "store" / "reference").iterdir()
    with opened(built, request, [(0, 0)], tmp_path, lambda _: None) as trials:
        before, all_swapped, after = (trials.ask(one, "test")[1][0].sha256 for one in ([], swaps, []))
    (drawn,) = [
        picture["sha256"]
        for picture in json.loads((reference / "answers.json").read_bytes())["given"]
        if (picture["prompt"], picture["seed"]) == (0, 0)
    ]
    assert all_swapped == drawn
    assert before == after != drawn
