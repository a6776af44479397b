"""Check: every problem in recipes."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.context import Session
from pipeline.cli.options import OutputFormat
from pipeline.errors import RecipeError


def check(
    ctx: typer.Context,
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Recipes to check.")],
    *,
    output_format: OutputFormat = None,
) -> None:
    """Show every problem in recipes; offline, without torch."""
    session: Session = ctx.obj
    from pipeline.card.preview import problems
    from pipeline.cli.annotations import as_github, as_sarif
    from pipeline.fleet.reach import including
    from pipeline.recipe import is_included

    found = (problem for path in recipes for problem in problems(path, session.vocabulary))
    told = list(dict.fromkeys(found))  # several recipes may include one file
    for remark in () if told else remarks(session, recipes):
        session.console.say(remark)
    text = "\n\n".join(str(problem) for problem in told) or f"{len(recipes)} checked, no problems"
    if not told and all(map(is_included, recipes)):
        text += f"; {recipes[0]} is a part that recipes include: {including(recipes[0], session.vocabulary)}"
    listed = [
        {
            "file": str(problem.file),
            "line": problem.line,
            "column": problem.column,
            "end_column": problem.column + problem.width * bool(problem.line),
            "text": problem.text,
            "suggestion": problem.suggestion or None,
        }
        for problem in told
    ]
    if output_format == "json":
        session.console.emit({"problems": listed})
    elif output_format == "sarif":
        session.console.document(as_sarif(told, version("quantpress")))
    elif output_format == "github" and told:
        session.console.document(as_github(told))
    elif output_format:
        session.console.document(text)
    else:
        session.console.result({"problems": listed}, text)
    if told:
        raise typer.Exit(RecipeError.exit_code)


def remarks(session: Session, recipes: list[Path]) -> list[str]:
    """Return what is to be known of the libraries that sound recipes ask for, each once."""
    from pipeline.recipe import is_included

    opened = [session.load(path).recipe for path in recipes if not is_included(path)]
    asked = [one for recipe in opened for target in recipe.targets for one in recipe.named(target).values()]
    rules = [session.vocabulary.rules(one.backend, one.scheme) for one in asked]
    return list(dict.fromkeys(one.ends for one in rules if one and one.ends))
