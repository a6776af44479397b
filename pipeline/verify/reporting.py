"""Writes the pages of a recipe's targets from what was judged before: what ``publish report`` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipeline.errors import CannotHereError, PublishError, RecipeError
from pipeline.files import write_atomically
from pipeline.plan.model import TargetPlan
from pipeline.plan.planner import Planner
from pipeline.store import Store
from pipeline.validate.page import Subject, render
from pipeline.validate.page.used import used
from pipeline.validate.prompts import clips_of
from pipeline.validate.stage import Judged, judged_before


class NotJudgedError(CannotHereError):
    """There is no verdict on a target."""


class Page(BaseModel):
    """A page that was written.

    Attributes:
        target: The target's name in the recipe.
        verdict: What it says.
        path: Its file.
        size: The file's bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    verdict: str
    path: str
    size: int


def pages(planner: Planner, store: Store, targets: Iterable[str], out: Path) -> Iterator[Page | PublishError]:
    """Write a page for each target; yield what became of each.

    Args:
        planner: Makes the plans of the recipe's targets.
        store: Where their reports and answers are kept.
        targets: The targets.
        out: The folder for ``report-<target>.html``, or the one page itself.

    Raises:
        RecipeError: Several pages cannot be one file.
    """
    every = {name: find(planner, store, name) for name in planner.loaded.recipe.targets}
    found = {name: one for editions in every.values() for name, one in editions.items()}
    reports = {name: None if isinstance(one, PublishError) else one[1].report for name, one in found.items()}
    for target, path in places(out, [name for asked in targets for name in every[asked]]).items():
        one = found[target]
        if isinstance(one, PublishError):
            yield one
            continue
        plan, judged = one
        subject = Subject(
            target=target,
            repository=plan.repository,
            report=judged.report,
            reference=judged.reference,
            candidate=judged.candidate,
            others={name: report for name, report in reports.items() if name != target},
            used=used(plan, str(planner.loaded.recipe.validation.prompts)),
            clips=clips_of(plan.validation, store),
        )
        yield write_page(subject, path)


def find(planner: Planner, store: Store, target: str) -> dict[str, tuple[TargetPlan, Judged] | PublishError]:
    """Return what was judged of each edition of a target, PASS or not, or why there is nothing; none is judged anew."""
    try:
        plan = planner.plan(target)
    except PublishError as error:
        return {target: error}
    judged = [(edition, judged_before(edition, store)) for edition in plan.editions]
    if known := {edition.target: (edition, found) for edition, found in judged if found}:
        return {**known}
    what = "This target was not judged here by the plan that the recipe has now."
    remedy = f"Run `publish run {planner.loaded.path} --target {target} --stop-after validate`."
    return {target: NotJudgedError(what, where=target, remedy=remedy)}


def write_page(subject: Subject, path: Path) -> Page:
    """Write the page on a verdict."""
    content = render(subject).encode()
    write_atomically(path, content)
    return Page(target=subject.target, verdict=subject.report.verdict, path=str(path), size=len(content))


def places(out: Path, targets: Sequence[str]) -> dict[str, Path]:
    """Return where each target's page is written.

    Raises:
        RecipeError: Several pages cannot be one file.
    """
    if out.suffix != ".html" or out.is_dir():
        return {target: out / f"report-{target}.html" for target in targets}
    if len(targets) > 1:
        raise RecipeError(
            f"{len(targets)} pages cannot be one file.",
            where=str(out),
            remedy="Name a folder with --out, or one target with --target.",
        )
    return dict.fromkeys(targets, out)
