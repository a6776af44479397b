"""Report: a page on every verdict that was given, or a catalog of everything that was published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.cli.failures import show_error
from pipeline.cli.options import HubName, Recipes, Targets
from pipeline.errors import PublishError, RecipeError
from pipeline.events import Event

if TYPE_CHECKING:
    from pipeline.verify.reporting import Page


def report(
    ctx: typer.Context,
    recipes: Recipes = None,
    target: Targets = None,
    hub: HubName = "",
    out: Annotated[
        Path, typer.Option("--out", metavar="PATH", help="The folder for the pages, or the file of one target's.")
    ] = Path(),
    site: Annotated[
        Path | None, typer.Option("--site", metavar="DIR", help="Write a catalog of recipes and what is published.")
    ] = None,
) -> None:
    """Write a page on every verdict that was given: one HTML file with answers, numbers and all that was used."""
    session: Session = ctx.obj
    if site is not None:
        if target or out != Path():
            raise RecipeError("A catalog has every target, in its own folder.", remedy="Leave out --target and --out.")
        write_catalog(session, session.recipes(recipes), hub, site)
        return
    if recipes is None or len(recipes) != 1:
        what = f"Pages are of one recipe, not of {len(recipes or ())}."
        raise RecipeError(what, remedy="Name one, or write a catalog of several with --site DIR.")
    (recipe,) = recipes
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


def write_catalog(session: Session, paths: Sequence[Path], hub: str, site: Path) -> None:
    """Write a site of recipes and of what the Hub has of them, and show what it says of each target."""
    from pipeline.fleet.site import INDEX, address_of, read_catalog, write_site

    loaded = [session.load(path) for path in paths]
    with session.hubs_soon(session.home(paths[0]), hub) as (target, _):
        catalog = read_catalog(target, loaded)
        write_site(catalog, address_of(target), site)
    targets = [(listed, one) for listed in catalog for one in listed.targets]
    errors = [one.error for _, one in targets if one.error]
    for error in errors:
        show_error(session.console, error, tracebacks=session.tracebacks)
    rows = [
        {"recipe": str(listed.loaded.path), "target": one.name, "repository": one.repository, "state": one.state}
        for listed, one in targets
    ]
    lines = [f"{row['state']:18} {row['repository']}" for row in rows]
    session.console.result({"site": str(site / INDEX), "targets": rows}, "\n".join([*lines, str(site / INDEX)]))
    if errors:
        raise typer.Exit(errors[0].exit_code)
