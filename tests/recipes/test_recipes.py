"""The recipes of real models are in order, fit what they name, and come out as large as their plans say."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.plan.model import TargetPlan, watched
from pipeline.recipe import Quantization
from pipeline.source.safetensors import TensorInfo, read_header
from tests.desk import Desk, Done, Shelf
from tests.recipes.conftest import FLUX, RECIPES, described, opened_recipe, read_so_far, source_of
from tests.recipes.families import FAMILIES
from tests.recipes.sparse import fill, size_of, stored, write

LIBRARIES = {"torch", "diffusers", "transformers", "bitsandbytes", "torchao", "optimum", "numpy", "PIL"}
STATE = 128  # bytes that text on a weight may take whose nested statistics only its values tell, by bitsandbytes
each = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)


def planned(desk: Desk, recipe: Path, *options: str) -> list[TargetPlan]:
    """Plan a recipe by the command."""
    return plans_of(desk.publish("plan", recipe, "--json", *options))


def plans_of(done: Done) -> list[TargetPlan]:
    """Return what the command planned."""
    assert done.code == 0, done.err
    return [TargetPlan.model_validate_json(json.dumps(line["plan"])) for line in done.lines if "plan" in line]


def test_every_recipe_is_in_order_and_names_a_source_whose_shape_is_known(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Shelf("http://127.0.0.1:9", tmp_path, ""), tmp_path / "home")
    done = desk.publish("check", *RECIPES)
    assert done.code == 0, done.err + done.out
    assert {source_of(path).repo for path in RECIPES} == FAMILIES.keys()


@each
def test_every_recipe_has_a_ladder_or_says_why_it_has_none(recipe: Path) -> None:
    assert bool(opened_recipe(recipe).recipe.for_cards) != ("\n# No ladder: " in recipe.read_text())


def test_a_plan_of_flux_reads_its_headers_and_asks_no_library_twice(flux: Desk) -> None:
    (first,) = planned(flux, FLUX, "--target", "bnb-nf4")
    before = read_so_far()
    done = flux.publish("plan", FLUX, "--json", "--target", "bnb-nf4", python=("-X", "importtime"))
    assert plans_of(done) == [first]
    assert read_so_far() - before < first.source_bytes / 100
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.err.splitlines() if "|" in line}
    assert "pipeline" in imported
    assert not imported & LIBRARIES


@pytest.mark.nightly
def test_the_shapes_are_those_that_were_published() -> None:
    every = zip(FAMILIES.items(), described((repository, False) for repository in FAMILIES), strict=True)
    for (repository, family), parts in every:
        tensors = {name: stored(family.parts[name], part["tensors"]) for name, part in parts.items()}
        sizes = {name: sum(map(size_of, part.values())) for name, part in tensors.items()}
        for name, published in family.published.items():
            assert (sizes[name] if name else sum(sizes.values())) == pytest.approx(published, rel=0.003), repository


@pytest.mark.nightly
@each
def test_every_target_can_be_planned_and_is_as_small_as_its_recipe_requires(every: Desk, recipe: Path) -> None:
    plans = planned(every, recipe)
    loaded = opened_recipe(recipe).recipe
    assert [plan.target for plan in plans] == [*loaded.targets]
    required = loaded.validation.require.model_dump()["size_ratio"]["max"]
    made = [plan for plan in plans if not plan.instead]
    for plan in made:
        assert plan.estimated == is_graph(plan)
        assert plan.result_bytes < required * plan.source_bytes, f"{plan.target} is larger than it may be"
    schemes = [
        {name: (part.quantization.backend, part.quantization.scheme) for name, part in plan.components.items()}
        for plan in made
    ]
    assert all(schemes.count(one) == 1 for one in schemes), "two targets are the same but for their options"
    if loaded.for_cards:
        assert any(plan.step and plan.step.published for plan in made), "no card of the ladder gets anything of its own"


@pytest.mark.nightly
@each
def test_what_is_written_of_one_layer_of_each_kind_is_what_was_planned(
    every: Desk, shallow: dict[str, Any], recipe: Path, tmp_path: Path
) -> None:
    source, folder = source_of(recipe), tmp_path / "source"
    write(folder, source.repo, shallow[source.repo])
    # What is found for a card, of whose size a shallow source says nothing, is what is found for the whole.
    # A shallow pipeline answers no questions, so nothing is made of it that is fitted to answers.
    found = {
        plan.target: plan
        for plan in planned(every, recipe)
        if not plan.instead and not plan.estimated and not any(map(watched, plan.components.values()))
    }
    targets = {
        target: {
            name: in_words(part.quantization, inside(folder, plan, name)) for name, part in plan.components.items()
        }
        for target, plan in found.items()
    }
    if "float8-weight-only" in json.dumps(targets):  # which has no scale for a row of zeros
        for path in folder.rglob("*.safetensors"):
            fill(path)
    variant = {"variant": source.variant} if source.variant else {}
    written = rewritten(every, recipe, {"path": str(folder), **variant}, targets)
    plans = planned(every, written)
    done = every.publish("run", written, "--stop-after", "quantize")
    assert done.code == 0, done.err
    for plan in (plan for plan in plans if not is_graph(plan)):
        checkpoint = every.home / "store" / "checkpoint" / plan.build_key
        for name, part in plan.components.items():
            more = data_bytes(inside(checkpoint, plan, name)) - part.result_bytes
            late = STATE * part.tensors if part.quantization.options.get("double_quant") else 0
            assert 0 <= more <= late, f"{plan.target}, {name}"
        whole = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
        assert whole == pytest.approx(plan.result_bytes, rel=0.001, abs=1 << 14)  # headers, and what was measured


def is_graph(plan: TargetPlan) -> bool:
    """Return whether a target is a graph, of which its plan says about how large it is."""
    return any(part.quantization.backend == "onnx" for part in plan.components.values())


def rewritten(desk: Desk, recipe: Path, source: Any, targets: Any) -> Path:
    """Write a recipe with another source and other targets, whose questions stay where they are."""
    found = yaml.safe_load(opened_recipe(recipe).published)
    prompts = found["validation"]["prompts"]
    lying = prompts if isinstance(prompts, dict) else str(recipe.parent / prompts)
    validation = {**found["validation"], "prompts": lying, "require": {"size_ratio": {"max": 2.0}}}
    written = desk.folder / "rewritten.yaml"
    written.write_text(json.dumps({**found, "source": source, "targets": targets, "validation": validation}))
    return written


def in_words(quantization: Quantization, folder: Path) -> dict[str, Any]:
    """Return what a recipe says of a component, without what it keeps of layers that a shallow one does not have."""
    modules = {name.rpartition(".")[0] for name in tensors_of(folder)}
    keep = [glob for glob in quantization.keep if any(fnmatchcase(f"{name}.", f"{glob}.*") for name in modules)]
    return {**quantization.model_dump(exclude={"options", "keep"}), **quantization.options, "keep": keep}


def inside(folder: Path, plan: TargetPlan, component: str) -> Path:
    """Return where the files of a component lie."""
    return folder / component if plan.is_pipeline else folder


def tensors_of(folder: Path) -> dict[str, TensorInfo]:
    """Return the tensors in the files of a component."""
    return {name: slot for path in folder.glob("*.safetensors") for name, slot in read_header(path).items()}


def data_bytes(folder: Path) -> int:
    """Return the bytes of all tensors in the files of a component."""
    return sum(slot.end - slot.begin for slot in tensors_of(folder).values())
