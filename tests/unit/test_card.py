"""A card is rendered from plan and report alone: golden, escaped, and impossible where a value is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.card.compose import compose
from pipeline.card.context import Ingredients, facts
from pipeline.card.metadata import SourceCard, metadata
from pipeline.card.render import as_text, render, templates
from pipeline.errors import CardError
from pipeline.plan.model import TargetPlan
from pipeline.tasks import TASKS
from pipeline.validate import Report

HERE = Path(__file__).parent
RECORDED = HERE / "recorded"
SOURCE = SourceCard(
    {"license": "apache-2.0", "pipeline_tag": "text-to-image"}, "https://hub.example/digits/digits-flux"
)


@pytest.fixture(params=["torchao-int8", "bnb-nf4"])
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def plan(target: str) -> TargetPlan:
    return TargetPlan.model_validate_json((RECORDED / target / "plan.json").read_bytes())


@pytest.fixture
def report(target: str) -> Report:
    return Report.model_validate_json((RECORDED / target / "report.json").read_bytes())


def card_of(plan: TargetPlan, report: Report, source: SourceCard = SOURCE) -> str:
    return compose(Ingredients(plan, report, source, executed=plan.target != "bnb-nf4")).text


def test_a_recorded_report_gives_the_golden_card(target: str, plan: TargetPlan, report: Report) -> None:
    golden = RECORDED / target / "README.md"
    card = card_of(plan, report)
    if os.environ.get("REWRITE_GOLDENS"):
        golden.write_text(card)
    assert card == golden.read_text()


@pytest.mark.parametrize("name", ["plan", "report", "source", "schemes", "shown", "usage", "needs", "executed"])
def test_a_variable_without_a_value_is_an_error(name: str, plan: TargetPlan, report: Report) -> None:
    values = facts(Ingredients(plan, report, SOURCE, executed=True)) | {"usage": ""}
    del values[name]
    with pytest.raises(CardError, match=f"'{name}' is undefined") as caught:
        render(f"{plan.template}.md.jinja", values)
    assert caught.value.exit_code == 7
    assert caught.value.where.startswith("cards/base.md.jinja:")


def test_no_license_is_invented(plan: TargetPlan, report: Report) -> None:
    card = card_of(plan, report, SourceCard({}))
    assert "license:" not in card
    assert "The source's card states no license; ask its authors." in card


def test_a_license_of_its_own_name_is_repeated_whole(plan: TargetPlan, report: Report) -> None:
    own = {"license": "other", "license_name": "flux-1-dev", "license_link": "LICENSE.md"}
    head = metadata(plan, report, SourceCard(own))
    assert "license: other\nlicense_name: flux-1-dev\nlicense_link: LICENSE.md\n" in head


def test_text_of_others_stays_text() -> None:
    assert as_text("<script>a*b_c[d](e)|`f`\n# g</script>") == (
        r"&lt;script&gt;a\*b\_c\[d\]\(e\)\|\`f\` \# g&lt;/script&gt;"
    )


def test_templates_are_known_by_name_and_content() -> None:
    assert set(templates()) == set(TASKS)
    assert all(len(digest) == 64 for digest in templates().values())
