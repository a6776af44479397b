"""What a browser answers is part of a verdict, and the page of a card is what it was asked by."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.card.compose import compose
from pipeline.card.context import Ingredients
from pipeline.card.metadata import SourceCard
from pipeline.events import silent
from pipeline.plan.model import TargetPlan
from pipeline.plan.questions import request_of
from pipeline.store import Store
from pipeline.validate.browser.asking import run_page
from pipeline.validate.browser.scripts import KEY, SCRIPTS
from pipeline.validate.follow_up import FollowUpChecks
from pipeline.validate.report import Report
from pipeline.validate.stage import validate
from tests.browser.conftest import halved
from tests.desk import Desk, Shelf, desk_in

NASTY = '</script><script>throw new Error("out")</script>'
REQUIRE = {"cosine_similarity": {"min": 0.95}, "rank_correlation": {"min": 0.9}}


@pytest.fixture
def desk(stocked: Shelf, answers: Path, scripts: Path, tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path, stocked, answers) as found:
        Store(found.home).make(SCRIPTS, KEY, lambda out: shutil.copytree(scripts, out, dirs_exist_ok=True))
        yield found


def judged(desk: Desk, source: Path, checkpoint: Path) -> tuple[TargetPlan, Report]:
    """Judge a folder as if it had been made by a recipe that has a browser try it."""
    recipe = desk.recipe_of_model(source, "feature-extraction", require=REQUIRE, browser={"questions": 2})
    engine = desk.engine(recipe)
    (name,) = engine.prepare()
    plan, _ = engine.plan(name)
    uses = FollowUpChecks(plan, (), request_of(plan), engine.store, silent).try_all(source, checkpoint)
    return plan, validate(plan, source, checkpoint, {}, engine.store, silent, uses).report


def repository(embedder: Path, graph: bytes, to: Path) -> Path:
    """A folder that transformers loads as the source, and a page by its graph."""
    shutil.copytree(embedder, to)
    (to / "onnx").mkdir()
    (to / "onnx" / "model.onnx").write_bytes(graph)
    return to


def test_a_browser_that_answers_as_the_target_passes_and_shows_the_page_of_the_card(
    desk: Desk, embedder: Path, published: Path, scripts: Path, tmp_path: Path
) -> None:
    folder = repository(embedder, (published / "onnx" / "model.onnx").read_bytes(), tmp_path / "made")
    plan, report = judged(desk, embedder, folder)
    (use,) = report.uses
    assert (report.verdict, use.kind, use.numbers["questions"]) == ("PASS", "browser", 2)
    prompts = (plan.validation.prompts[0].model_copy(update={"prompt": NASTY}), *plan.validation.prompts[1:])
    asked = plan.model_copy(update={"validation": plan.validation.model_copy(update={"prompts": prompts})})
    card = compose(Ingredients(asked, report, SourceCard({}, ""), executed=True))
    assert f"```html\n{card.page}```" in card.text
    assert use.text.split(";")[0].replace(".", "") in card.text.replace("\\", "").replace(".", "")
    shown = run_page(card.page, folder, plan.repository, request_of(asked), scripts, tmp_path / "shown")
    assert shown.failure == ""


@pytest.mark.nightly
def test_a_target_that_only_a_browser_answers_otherwise_is_refused(
    desk: Desk, embedder: Path, published: Path, tmp_path: Path
) -> None:
    folder = repository(embedder, halved(published / "onnx" / "model.onnx"), tmp_path / "made")
    _, report = judged(desk, embedder, folder)
    assert report.verdict == "FAIL"
    (reason,) = [reason for reason in report.reasons if reason.verdict == "FAIL"]
    assert reason.about == "use"
    assert "answers otherwise: " in reason.text
