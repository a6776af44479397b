"""``publish report`` writes pages of what was judged, also where it failed, and judges nothing itself."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.validate.page.used import asked
from tests.cards.conftest import asking, recorded
from tests.cards.test_metadata import DATASET
from tests.desk import ONE, TWO, Desk, Shelf, opened


@pytest.fixture
def desk(ready: Path, stocked: Shelf, tmp_path: Path) -> Iterator[Desk]:
    """Somebody who had target ``one`` judged, and ``two`` not."""
    shutil.copytree(stocked.root, tmp_path / "hub", symlinks=True)
    shutil.copytree(ready, tmp_path / "home")
    (tmp_path / "desk").mkdir()
    with opened(tmp_path / "hub", stocked) as shelf:
        yield Desk(tmp_path / "desk", shelf, tmp_path / "home")


def test_a_judged_target_gets_its_page_in_this_folder(desk: Desk) -> None:
    done = desk.publish("report", desk.recipe(TWO), "--target", "one")
    assert (done.code, done.out) == (0, "PASS         report-one.html\n"), done.err
    text = (desk.folder / "report-one.html").read_text()
    assert "<title>PASS: one · alice/tiny-one</title>" in text
    assert desk.shelf.commit in text
    assert "Not judged here, so not shown: two." in text
    assert "1 from the recipe&#39;s prompts.jsonl" in text
    engine = desk.engine(desk.folder / "recipe.yaml")
    assert engine.planner.plan("one").digest in text


def test_programs_are_told_what_was_written_where(desk: Desk) -> None:
    out = desk.folder / "a" / "page.html"
    done = desk.publish("--json", "report", desk.recipe(TWO), "--target", "one", "--out", out)
    written = {"target": "one", "verdict": "PASS", "path": str(out), "size": out.stat().st_size}
    assert done.lines[-1] == {"result": [written]}


def test_a_target_that_was_not_judged_is_told_and_keeps_no_other_page(desk: Desk) -> None:
    done = desk.publish("report", desk.recipe(TWO), "--out", "pages")
    assert (done.code, done.error) == (0, "")
    told = (
        f"two: This target was not judged here by the plan that the recipe has now. "
        f"Run `publish run {desk.folder / 'recipe.yaml'} --target two --stop-after validate`."
    )
    assert told in done.err
    named = desk.publish("report", desk.folder / "recipe.yaml", "--target", "two")
    assert (named.code, named.error) == (3, f"error: {told}")
    assert [path.name for path in (desk.folder / "pages").iterdir()] == ["report-one.html"]
    assert not list((desk.home / "store").glob("*/*two*"))


def test_a_changed_recipe_has_no_page_until_it_is_judged(desk: Desk) -> None:
    recipe = desk.recipe(ONE, require={"size_ratio": {"max": 1.9}})
    assert desk.publish("report", recipe).code == 3
    assert not (desk.folder / "report-one.html").exists()


def test_several_pages_are_not_one_file(desk: Desk) -> None:
    done = desk.publish("report", desk.recipe(TWO), "--out", "page.html")
    assert done.code == 2
    assert "2 pages cannot be one file" in done.error
    assert not (desk.folder / "page.html").exists()


def test_a_failed_verdict_has_a_page_too(desk: Desk) -> None:
    recipe = desk.recipe(ONE, require={"size_ratio": {"max": 0.01}})
    assert desk.publish("run", recipe, "--stop-after", "validate").code == 6
    done = desk.publish("report", recipe)
    assert (done.code, done.out) == (0, "FAIL         report-one.html\n"), done.err
    text = (desk.folder / "report-one.html").read_text()
    orders = json.loads(re.search(r'id="values">(.*?)</script>', text)[1])  # type: ignore[index]
    assert orders["orders"]["prompt"] == [0]
    assert text.count("data:image/png;base64,") == 2


def test_the_files_of_prompts_are_told_with_their_columns() -> None:
    plan, _ = recorded()
    prompts = tuple(one.model_copy(update={"files": {"image": "0.png"}}) for one in plan.validation.prompts)
    dataset = DATASET.model_copy(update={"files": {"image": "before"}})
    told = asked(asking(plan, prompts=prompts, dataset=dataset).validation, "")
    assert f"{DATASET.where}, image in before, of 1632 rows" in told["Prompts"]
    assert told["Files of the prompts"] == "publish/questions/, each named after its SHA-256"
    assert "Files of the prompts" not in asked(plan.validation, "prompts.jsonl")
