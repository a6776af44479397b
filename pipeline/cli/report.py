"""Report: a page on every verdict that was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.cli.failures import show_error
from pipeline.cli.options import HubName, RecipePath, Targets
from pipeline.errors import PublishError
from pipeline.events import Event

if TYPE_CHECKING:
    from pipeline.verify.reporting import Page


def report(
    ctx: typer.Context,
    recipe: RecipePath,
    target: Targets = None,
    hub: HubName = "",
    out: Annotated[
        Path, typer.Option("--out", metavar="PATH", help="The folder for the pages, or the file of one target's.")
    ] = Path(),
) -> None:
    """Write a page on every verdict that was given: one HTML file with answers, numbers and all that was used."""
    session: Session = ctx.obj
    from pipeline.verify.reporting import NotJudgedError, Page, pages

    with session.engine(recipe, hub) as engine:
        names = engine.prepare(target or ())
        ended = list(pages(engine.planner, engine.store, names, out))
    failures = [error for error in ended if isinstance(error, PublishError)]
    written = [page for page in ended if isinstance(page, Page)]
    unjudged = [error for error in failures if isinstance(error, NotJudgedError)] if written and not target else []
    failures = [error for error in failures if error not in unjudged]
    for one in unjudged:
        session.console.listen(Event("note", "report", text=str(one)))
    for error in failures:
        show_error(session.console, error, tracebacks=session.tracebacks)
    show_pages(session.console, written)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def show_pages(console: Console, pages: Sequence[Page]) -> None:
    """Show which pages were written where, a line for each."""
    lines = [f"{page.verdict:12} {page.path}" for page in pages]
    console.result({"result": [page.model_dump(mode="json") for page in pages]}, "\n".join(lines))
