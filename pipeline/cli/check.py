"""Check: every problem in recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.context import Session
from pipeline.errors import RecipeError


def check(
    ctx: typer.Context, recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Recipes to check.")]
) -> None:
    """Show every problem in recipes; offline, without torch."""
    session: Session = ctx.obj
    from pipeline.card.preview import problems

    found = {str(path): problems(path, session.vocabulary) for path in recipes}
    told = [problem for group in found.values() for problem in group]
    text = "\n\n".join(str(problem) for problem in told) or f"{len(recipes)} checked, no problems"
    listed = [
        {"file": str(problem.file), "line": problem.line, "column": problem.column, "text": problem.text}
        for problem in told
    ]
    session.console.result({"problems": listed}, text)
    if told:
        raise typer.Exit(RecipeError.exit_code)
