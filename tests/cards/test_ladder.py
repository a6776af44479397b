"""The card of a ladder's target shows what there is for each card; no other card does."""

from __future__ import annotations

from pathlib import Path

from pipeline.card.preview import problems, scenes
from pipeline.plan.footprint import Footprint
from pipeline.plan.ladder import Whole, ladder_of
from pipeline.plan.model import TargetPlan
from pipeline.recipe import Budget, Quantization, load
from pipeline.validate import Report
from tests.cards.conftest import card
from tests.cards.test_rehearsal import WORDS

TITLE = "## Which of these for which card"
REPOSITORIES = {"8gb": "acme/digits-8gb", "12gb": "acme/digits-12gb", "16gb": "acme/digits-16gb"}


def with_ladder(plan: TargetPlan, target: str) -> TargetPlan:
    """A plan of a ladder: 8gb and 12gb are published, 16 GB take the second, and 24 GB hold the source."""
    words = {"8gb": "torchao int4-weight-only", "12gb": "torchao int8-weight-only", "16gb": "torchao int8-weight-only"}
    found = {
        name: Whole(
            {"transformer": Quantization(backend="torchao", scheme=scheme)},
            {"transformer": scheme},
            size,
            {"all": size},
        )
        for name, scheme, size in zip(words, words.values(), (7 * 10**9, 11 * 10**9, 11 * 10**9), strict=True)
    }
    found["24gb"] = found["16gb"]
    source = Whole({}, {}, 22 * 10**9, {"all": 22 * 10**9})
    asked = {name: Budget(card=name.upper()) for name in (*words, "24gb")}
    ladder = ladder_of(asked, found, source, Footprint({"all": 10**8}, {"all": 10**7}), REPOSITORIES, "acme/digits")
    return plan.model_copy(update={"target": target, "repository": REPOSITORIES[target], "ladder": ladder})


def row(size: str, take: str, made: str, files: str) -> str:
    takes = f"{files} + 700.0 MB"
    return f"| {size} | {take} | {made} | {files} | **{takes}** | {takes} | 10.0 MB + 700.0 MB |"


def test_a_card_shows_the_whole_ladder_with_itself_marked(plan: TargetPlan, report: Report) -> None:
    text = card(with_ladder(plan, "12gb"), report)
    table = text.partition(TITLE)[2].partition("Each card gets")[0].strip().splitlines()
    assert [len(row.split("|")) for row in table] == [9] * 6
    source, first = "[acme/digits](https://huggingface.co/acme/digits)", "https://huggingface.co/acme/digits-8gb"
    assert table[2:] == [
        row("8GB", f"[acme/digits-8gb]({first})", "`transformer` torchao int4-weight-only", "7.0 GB"),
        row("12GB", "**this one**", "`transformer` torchao int8-weight-only", "11.0 GB"),
        row("16GB", "**this one**", "`transformer` torchao int8-weight-only", "11.0 GB"),
        row("24GB", source, "the source as it is", "22.0 GB"),
    ]
    assert "**reckoned\nfrom configs and was not measured**" in text


def test_a_target_that_its_card_holds_one_model_at_a_time_is_loaded_so(plan: TargetPlan, report: Report) -> None:
    whole = with_ladder(plan, "12gb")
    assert whole.ladder is not None
    assert "enable_model_cpu_offload()  #" not in card(whole, report)
    steps = tuple(step.model_copy(update={"offload": "model"}) for step in whole.ladder.steps)
    text = card(whole.model_copy(update={"ladder": whole.ladder.model_copy(update={"steps": steps})}), report)
    assert "    pipe.enable_model_cpu_offload()  # one model on the card at a time, as a card of 12GB has it\n" in text
    assert 'pipe.to("cuda"' not in text


def test_an_ordinary_target_has_no_such_table(plan: TargetPlan, report: Report) -> None:
    assert TITLE not in card(plan, report)


def test_the_cards_of_a_ladder_are_rehearsed(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "seven"}\n')
    (tmp_path / "model").mkdir()
    recipe.write_text(
        """
        source: {path: ./model}
        task: text-to-image
        destination: {namespace: acme}
        targets:
          plain: {transformer: {backend: quanto, scheme: int8}}
          ladder: {cards: [8GB, 12GB, 16GB]}
        validation: {prompts: prompts.jsonl, seeds: [1], require: {psnr: {min: 20}}}
        card: {template: text-to-image}
        """
    )
    assert problems(recipe, WORDS) == []
    plans = {scene.plan.target: scene.plan for scene in scenes(load(recipe, WORDS))}
    assert plans["plain"].ladder is None
    assert {target: step.taken for target in ("8gb", "12gb", "16gb") if (step := plans[target].step)} == {
        "8gb": "8gb",
        "12gb": "8gb",
        "16gb": "",
    }
