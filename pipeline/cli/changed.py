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
) -> None:
    """List the recipes that depend on a file that differs from a commit: prompts, pictures, LoRAs, templates, ..."""
    session: Session = ctx.obj
    from pipeline.fleet.reach import changed_since, touched

    paths, files = session.recipes(recipes), changed_since(since, Path())
    found = [str(path) for path in (paths if files is None else touched(paths, files, session.vocabulary))]
    session.console.result({"recipes": found}, "\n".join(found))
