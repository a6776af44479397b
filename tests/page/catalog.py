"""A catalog of recorded reports: the digits recipe with most of its targets published, and a recipe of nothing yet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.fleet.needs import Needs, Part
from pipeline.fleet.site import Listed, Target
from pipeline.fleet.site.catalog import Published, words_of
from pipeline.plan.footprint import Footprint
from pipeline.recipe import Vocabulary, load
from pipeline.tasks import TASKS
from pipeline.validate import Report
from tests.cards.conftest import RECORDED, recorded

RECIPES = Path(__file__).parents[2] / "recipes"
GB = 10**9
WEIGHTS = {"bnb-nf4": 6 * GB, "quanto-int8": 12 * GB, "torchao-float8": 21 * GB, "torchao-int8": 100 * GB}


def published(target: str, weights: int, **changes: Any) -> Published:
    plan, report = recorded(target)
    needs = Needs(plan.repository, "0" * 40, True, {}, {}, plan=plan, judged=report.candidate)
    needs = holding(needs, transformer=weights)
    return replace(Published(plan, needs, report, "v1", changed=False), **changes)


def holding(needs: Needs, **weights: int) -> Needs:
    """Return needs with components of so many bytes, none of which takes more while it runs."""
    parts = {name: Part("diffusers", "FluxTransformer2DModel", "", size) for name, size in weights.items()}
    return replace(needs, parts=parts, footprint=Footprint(dict.fromkeys(parts, 0), dict.fromkeys(parts, 0)))


def listed(folder: str, name: str = "", **found: Published) -> Listed:
    """Return a recipe of this project with what is published of its targets."""
    loaded = load(RECIPES / folder / "recipe.yaml", Vocabulary(SCHEMES, frozenset(templates()), TASKS))
    targets = [
        Target(one, repository, words_of(loaded.recipe.named(one)), found.get(one))
        for one, repository in loaded.recipe.repositories.items()
    ]
    return Listed(name or folder, loaded, targets)


def catalog() -> list[Listed]:
    found = {target: published(target, size) for target, size in WEIGHTS.items() if (RECORDED / target).is_dir()}
    return [listed("digits", **found), listed("minilm")]


def changed(report: Report, **changes: Any) -> Report:
    return Report.model_validate(report.model_dump() | changes)
