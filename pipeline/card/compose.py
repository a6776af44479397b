"""Composition: the text of a card, from plan and report alone, and the same again from what was published."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from pipeline.card.context import Ingredients, facts, facts_of_plan, foreign_configs, usages, usages_of
from pipeline.card.metadata import SourceCard, metadata
from pipeline.card.render import CARD_SUFFIX, PACKAGED, render
from pipeline.plan.model import TargetPlan
from pipeline.tasks import TASKS
from pipeline.validate import Report
from pipeline.validate.browser.scripts import MODULE, address_of_questions

if TYPE_CHECKING:
    from jinja2 import BaseLoader

USAGE_NOTES: Final = {  # what a published report says of the snippet: whether it was run
    "The card's snippet was run against the staged commit before it was merged.": True,
    "The card's snippet was not run: no device here can. The staged commit was loaded as validation loaded it.": False,
}
BESIDES: Final = frozenset({"source_page", "usage", "weights", "further"})  # what it says beside what was judged


@dataclass(frozen=True)
class Card:
    """A card as text, and the snippets in it: for Python, and for a page where a browser was tried.

    Attributes:
        further: The snippets of what lies beside the first artifacts, by their paths.
    """

    text: str
    usage: str
    page: str = ""
    further: Mapping[str, str] = field(default_factory=dict)


def compose(given: Ingredients) -> Card:
    """Write a card.

    Raises:
        CardError: A template has no value for a variable or cannot be rendered.
    """
    body = compose_body(given)
    return replace(body, text=f"---\n{metadata(given.plan, given.report, given.source)}---\n{body.text}")


def compose_body(given: Ingredients, loader: BaseLoader = PACKAGED) -> Card:
    """Write what templates write of a card, all but its metadata.

    Args:
        given: What it is made of.
        loader: Where the templates come from.

    Raises:
        CardError: A template has no value for a variable or cannot be rendered.
    """
    plan, report, values = given.plan, given.report, facts(given)
    (_, usage), *others = (
        (path, snippet_of(edition, loader, foreign_configs(plan, edition))) for path, edition in usages(plan).items()
    )
    asked, task = {}, TASKS[plan.task]
    if task.page and (settings := next((use.settings for use in report.uses if use.settings), {})):
        question, files = plan.validation.prompts[0], address_of_questions(plan.repository)
        first, options = task.page.question(question, plan.validation.call, files)
        asked = {"module": MODULE, "settings": settings, "first": first, "options": options}
    page = render(task.page.usage, {**values, **asked}, loader) if task.page and asked else ""
    text = render(f"{plan.template}{CARD_SUFFIX}", {**values, "usage": usage, "page": page}, loader)
    return Card(text, usage, page, dict(others))


def snippet_of(plan: TargetPlan, loader: BaseLoader = PACKAGED, foreign: Collection[str] = ()) -> str:
    """Write the snippet for Python, of a plan alone.

    Args:
        plan: The plan, of an edition.
        loader: Where the templates come from.
        foreign: The components whose config in the repository says how another artifact is quantized.

    Raises:
        CardError: Its template has no value for a variable or cannot be rendered.
    """
    return render("-".join([*usages_of(plan), TASKS[plan.task].usage]), facts_of_plan(plan, foreign), loader)


def compose_published(plan: TargetPlan, published: Mapping[str, Any]) -> Card:
    """Write the card of a release from what it publishes, which gives whoever writes it again the same.

    Args:
        plan: Its `PLAN`.
        published: Its `REPORT`.

    Raises:
        CardError: A template has no value for a variable or cannot be rendered.
        KeyError: The report does not say what a card needs beside what was judged.
        ValidationError: It is no report.
    """
    source = SourceCard(plan.source_card or {}, published["source_page"])
    made = {
        part: sum(one["files"][name]["size"] for name in one["weights"]) for part, one in published["weights"].items()
    }
    further = [(judged_in(one), USAGE_NOTES[one["usage"]]) for one in published.get("further", ())]
    executed = USAGE_NOTES[published["usage"]]
    return compose(Ingredients(plan, judged_in(published), source, executed, made, further))


def judged_in(published: Mapping[str, Any]) -> Report:
    """Return what was judged, of a published report.

    Raises:
        ValidationError: It is no report.
    """
    return Report.model_validate({key: found for key, found in published.items() if key not in BESIDES})
