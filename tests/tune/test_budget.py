"""A recipe that says how large a target may be: the plan says what was found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.fleet.status import changes
from pipeline.plan.model import TargetPlan
from pipeline.verify.rebuild import ReleaseRebuild
from tests.desk import Desk, Done, Shelf, desk_in

BACKENDS = ["torchao", "quanto"]  # each library that is asked takes seconds to be imported


@pytest.fixture(scope="module")
def desk(stocked: Shelf, answers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with desk_in(tmp_path_factory.mktemp("budget"), stocked, answers) as found:
        yield found


def planned(desk: Desk, **budget: Any) -> Done:
    return desk.publish("--json", "plan", desk.recipe({"small": {"budget": {"backends": BACKENDS, **budget}}}))


def plan_of(done: Done) -> TargetPlan:
    assert done.code == 0, done.err
    return TargetPlan.model_validate_json(json.dumps(done.lines[-1]["plan"]))


def test_the_plan_pins_what_a_budget_found_and_the_next_best(desk: Desk) -> None:
    plan = plan_of(planned(desk, size_ratio=0.75))
    assert plan.budget is not None
    assert plan.result_bytes <= 0.75 * plan.source_bytes
    pinned = {name: part.quantization.words for name, part in plan.components.items()}
    assert pinned == plan.budget.found.components
    assert plan.budget.found.size_ratio == pytest.approx(plan.result_bytes / plan.source_bytes, abs=1e-4)
    assert plan.budget.runner_up is not None
    assert plan.budget.runner_up.components != pinned
    assert "vae" not in pinned  # it has few Linear layers, and nobody named it


def test_a_smaller_budget_costs_signal(desk: Desk) -> None:
    large, small = (plan_of(planned(desk, size_ratio=ratio, components=["transformer"])) for ratio in (0.85, 0.7))
    assert large.budget is not None
    assert small.budget is not None
    assert large.budget.found.sqnr > small.budget.found.sqnr
    assert small.result_bytes < large.result_bytes


def test_only_the_named_backends_and_components_are_used(desk: Desk) -> None:
    plan = plan_of(planned(desk, memory="2MB", backends=["torchao"], components=["transformer", "text_encoder_2"]))
    assert {part.quantization.backend for part in plan.components.values()} == {"torchao"}
    assert set(plan.components) <= {"transformer", "text_encoder_2"}


def test_what_is_to_be_kept_is_kept_whatever_is_found(desk: Desk) -> None:
    budget = {"budget": {"size_ratio": 0.9, "backends": ["torchao"], "components": ["transformer"]}}
    recipe = desk.recipe({"small": budget})
    begun = {"defaults": {"transformer": {"keep": ["proj_out"], "dtype": "float32"}}}
    recipe.write_text(json.dumps(json.loads(recipe.read_text()) | begun))
    quantization = plan_of(desk.publish("--json", "plan", recipe)).components["transformer"].quantization
    assert (quantization.keep, quantization.dtype) == (("proj_out",), "float32")


@pytest.mark.nightly
def test_a_name_to_keep_that_nothing_has_is_told(desk: Desk) -> None:
    refused = planned(desk, size_ratio=0.9, backends=["torchao"], keep={"transformer": ["nothing_of_it"]})
    assert refused.code == 2
    assert "nothing_of_it" in refused.err


def test_a_budget_that_nothing_fits_is_told_what_can_be_reached(desk: Desk) -> None:
    refused = planned(desk, size_ratio=0.05)
    assert refused.code == 2
    assert "recipe.yaml:11:5: Nothing fits the budget of small." in refused.err
    assert "The smallest that can be made has 0." in refused.err
    least = float(refused.err.partition("made has ")[2].split()[0])
    assert plan_of(planned(desk, size_ratio=least + 0.0001)).budget is not None


def test_what_is_published_is_held_against_the_budget_that_its_recipe_gives(desk: Desk) -> None:
    written = {"small": {"budget": {"size_ratio": 0.85, "backends": ["quanto"]}}}
    engine = desk.engine(desk.recipe(written))
    plan, _ = engine.plan("small")
    assert changes(engine.loaded, "small", plan) == []
    written["small"]["budget"]["size_ratio"] = 0.8
    smaller = desk.engine(desk.recipe(written))
    assert changes(smaller.loaded, "small", plan) == ["budget.size_ratio: 0.85 → 0.8"]


def test_people_see_what_was_found(desk: Desk) -> None:
    budget = {"size_ratio": 0.85, "components": ["transformer"], "backends": BACKENDS}
    done = desk.publish("plan", desk.recipe({"small": {"budget": budget}}))
    assert done.code == 0, done.err
    assert "the budget found transformer" in done.err
    assert "the next best is transformer" in done.err


def test_what_a_budget_found_is_rebuilt_whatever_would_be_found_elsewhere(desk: Desk) -> None:
    recipe = desk.recipe({"small": {"budget": {"size_ratio": 0.85, "backends": ["quanto"]}}})
    plan, _ = desk.engine(recipe).plan("small")
    elsewhere = desk.recipe({"small": {"budget": {"size_ratio": 0.85, "backends": ["torchao"]}}}, name="else.yaml")
    engine = desk.engine(elsewhere)
    made = ReleaseRebuild(desk.home / "again", engine.hub, engine.hub, engine.listen).unjudged(
        plan, engine.loaded.recipe, desk.home
    )
    assert made.recipe.named("small") == {name: part.quantization for name, part in plan.components.items()}
