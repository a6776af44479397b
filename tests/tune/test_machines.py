"""A budget finds the same on every machine, or says what the machine lacks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.desk import Desk, Shelf, home_in, opened
from tests.machines import needs_compiler, with_driver, without

SMALL = {"budget": {"size_ratio": 0.85, "backends": ["torchao"], "components": ["transformer"]}}


@pytest.fixture(scope="module")
def shelf(stocked: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("machines")
    shutil.copytree(stocked.root, folder / "hub", symlinks=True)
    with opened(folder / "hub", stocked) as shelf:
        yield shelf


@pytest.fixture
def desk(shelf: Shelf, answers: Path, tmp_path: Path) -> Desk:
    return Desk(tmp_path, shelf, home_in(tmp_path, answers))


def planned(desk: Desk, recipe: Path, machine: dict[str, str]) -> dict[str, Any]:
    done = replace(desk, extra=machine).publish("--json", "plan", recipe)
    assert done.code == 0, done.err
    plan: dict[str, Any] = done.lines[-1]["plan"]
    return plan


@needs_compiler
def test_neither_a_gpu_nor_libraries_that_nobody_asks_for_change_what_a_budget_finds(desk: Desk) -> None:
    recipe = desk.recipe({"small": SMALL})
    here, gpu = planned(desk, recipe, {}), planned(desk, recipe, with_driver(desk.folder / "driver"))
    assert here["budget"]["found"]["components"] == {"transformer": "torchao int8-weight-only"}
    assert gpu == here  # with what would be next, which with a scheme of CUDA devices would be that
    bare = without(desk.folder / "site", "bitsandbytes", "optimum")
    assert planned(desk, recipe, bare) == here


def test_a_library_that_is_searched_and_not_installed_ends_the_plan(desk: Desk) -> None:
    recipe = desk.recipe({"one": {"budget": {"size_ratio": 0.85}}, "ladder": {"cards": ["8GB", "12GB"]}})
    machine = without(desk.folder / "site", "optimum")
    places = {"one": '"one":', "12gb": '"12GB"'}
    for target, text in places.items():
        done = replace(desk, extra=machine).publish("plan", recipe, "--target", target)
        line = next(number for number, line in enumerate(recipe.read_text().split("\n"), 1) if text in line)
        assert done.code == 3
        assert f"{recipe}:{line}:" in done.error
        assert "are searched for in quanto, for which optimum-quanto is not installed" in done.error
        assert "pip install 'quantpress[quanto]', or name those" in done.error


def test_what_only_a_gpu_makes_is_planned_anywhere_where_it_is_named(desk: Desk) -> None:
    named = {"one": {"transformer": {"backend": "torchao", "scheme": "int4-weight-only"}}}
    machine = without(desk.folder / "site", "bitsandbytes", "optimum")
    plan = planned(desk, desk.recipe(named), machine)
    assert plan["components"]["transformer"]["quantization"]["scheme"] == "int4-weight-only"
    assert plan == planned(desk, desk.recipe(named), {})
