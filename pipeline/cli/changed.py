"""Changed: the recipes that a change of files is about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.context import Session
from pipeline.cli.options import Recipes


def changed(
    ctx: typer.Context,
    recipes: Recipes = None,
    *,
    since: Annotated[
        str, typer.Option("--since", help="A commit, branch or tag that the files here are held against.")
    ],
    without: Annotated[
        list[Path] | None, typer.Option("--except", metavar="DIR", help="No recipe in there; may be given again.")
    ] = None,
) -> None:
    """List the recipes that depend on a file that differs from a commit: prompts, pictures, LoRAs, templates, ..."""
    session: Session = ctx.obj
    from pipeline.fleet.reach import changed_since, touched

    left = [folder.resolve() for folder in without or ()]
    paths = [path for path in session.recipes(recipes) if not any(path.resolve().is_relative_to(one) for one in left)]
    files = changed_since(since, Path())
    found = [str(from_here(path)) for path in (paths if files is None else touched(paths, files, session.vocabulary))]
    session.console.result({"recipes": found}, "\n".join(found))


def from_here(path: Path) -> Path:
    """Return a path as a command typed here would name it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
