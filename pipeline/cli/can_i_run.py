"""Can I run: whether a published repository loads here, with how much memory, and what to choose instead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.cli.options import HubName
from pipeline.errors import CannotHereError, RecipeError

if TYPE_CHECKING:
    from pipeline.fleet.can_run import Fit


def can_i_run(
    ctx: typer.Context,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="The repository.")],
    *,
    revision: Annotated[str | None, typer.Option("--revision", help="A commit, branch or tag; default main.")] = None,
    memory: Annotated[str, typer.Option("--memory", help="Ask for a card of this size instead, such as 8GB.")] = "",
    cpu: Annotated[bool, typer.Option("--cpu", help="That memory is of a processor, such as a board's.")] = False,
    hub: HubName = "",
) -> None:
    """Say whether a repository loads here, with how much memory and in which way; its weights are not downloaded."""
    session: Session = ctx.obj
    from pipeline.fleet.can_run import Fit, Machine
    from pipeline.fleet.needs import read_needs
    from pipeline.recipe import names
    from pipeline.recipe.addresses import read_name

    if names.is_path(repo) or Path(repo).is_dir():
        remedy = "`publish init` and `publish quantize` read a folder; give this one the name of a repository."
        raise RecipeError("This is a folder, and only repositories are looked at.", where=repo, remedy=remedy)
    try:
        size = names.bytes_of(names.size(memory)) if memory else 0
    except names.UnfitError as error:
        raise RecipeError(f"{error}.", where="--memory") from error
    if cpu and not size:
        what = "--cpu asks for another machine's processor, and nothing says how much memory that has."
        raise RecipeError(what, where="--cpu", remedy="Add --memory 4GB.")
    with session.hubs_soon(session.home(), hub) as (target, _):
        needs = read_needs(target, *read_name(repo, revision, target.endpoint))
    another = Machine.without_card if cpu else Machine.another
    found = Fit(needs, another(size) if size else Machine.here())
    show_fit(session.console, found)
    if not found.runs:
        raise typer.Exit(CannotHereError.exit_code)


def show_fit(console: Console, found: Fit) -> None:
    """Show what was looked at and what each way to run it takes, a line each, and the answer."""
    from pipeline.fleet.memory import WAYS

    lines = [f"{each.level:8}{each.topic}: {each.text}. {each.remedy}" for each in found.remarks]
    ways = [f"{'no' if mode.lacks else 'fits':8}{WAYS[mode.name]}: {mode.words}" for mode in found.modes]
    console.result(found.json(), "\n".join([*lines, *ways, found.verdict]))
