"""Names: which repositories a recipe publishes."""

from __future__ import annotations

import typer

from pipeline.cli.context import Session
from pipeline.cli.options import RecipePath


def names(ctx: typer.Context, recipe: RecipePath) -> None:
    """Show which repositories a recipe publishes."""
    session: Session = ctx.obj
    found = session.load(recipe).recipe.repositories
    session.console.result({"repositories": found}, "\n".join(found.values()))
