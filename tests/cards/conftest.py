"""A plan and a report as they were recorded, and ways to say other things with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.card.compose import compose
from pipeline.card.context import Ingredients
from pipeline.card.metadata import SourceCard
from pipeline.files import ListedFile
from pipeline.plan.model import TargetPlan
from pipeline.plan.parts import PlannedLora
from pipeline.validate import Report

RECORDED = Path(__file__).parents[1] / "unit" / "recorded"
TEMPLATES = sorted(path.name for path in (Path(__file__).parents[2] / "cards").glob("*.jinja"))
SOURCE = SourceCard({"license": "apache-2.0"}, "https://hub.example/digits/digits-flux")
LORA = PlannedLora(
    repo="acme/style-lora-v2",
    revision="5" * 40,
    file="style-v2.safetensors",
    listed=ListedFile(size=1),
    scale=0.75,
    how="loaded",
)


def recorded(target: str = "torchao-int8") -> tuple[TargetPlan, Report]:
    folder = RECORDED / target
    plan = TargetPlan.model_validate_json((folder / "plan.json").read_bytes())
    return plan, Report.model_validate_json((folder / "report.json").read_bytes())


def card(plan: TargetPlan, report: Report, source: SourceCard = SOURCE) -> str:
    return compose(Ingredients(plan, report, source, executed=True)).text


def asking(plan: TargetPlan, **changes: Any) -> TargetPlan:
    """Return a plan that asks otherwise."""
    return plan.model_copy(update={"validation": plan.validation.model_copy(update=changes)})


@pytest.fixture
def plan() -> TargetPlan:
    return recorded()[0]


@pytest.fixture
def report() -> Report:
    return recorded()[1]
