"""Init: a first recipe for a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.cli.options import HubName
from pipeline.errors import RecipeError

if TYPE_CHECKING:
    from pipeline.fleet.starter import Started
    from pipeline.hub.client import Hub
    from pipeline.hub.source import Repository
    from pipeline.source.layout import Folder


def init(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A folder or a repository: a pipeline or a model.")],
    *,
    needs: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="NEEDS",
            help="Of 8gb-gpu, 12gb-gpu, 16gb-gpu, 24gb-gpu, cpu, memory, embedded, web; by commas.",
        ),
    ] = "",
    out: Annotated[Path | None, typer.Option("--out", help="The recipe's file; SOURCE.yaml here by default.")] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", metavar="NS", help="Where to publish; the token's user by default.")
    ] = "",
    task: Annotated[str, typer.Option("--task", help="What the model is for, where that is not clear.")] = "",
    variant: Annotated[str, typer.Option("--variant", help="Read the source's files of this variant.")] = "",
    hub: HubName = "",
) -> None:
    """Write a first recipe for a model, with prompts to start with, from its index and headers alone."""
    session: Session = ctx.obj
    from pipeline.fleet.starter import find, needs_of, require_new, start, title

    wanted = needs_of(needs) if needs else ()
    asks = session.console.mode == "people" and sys.stdin.isatty() and sys.stderr.isatty()
    with session.hubs_soon(session.home(out), hub) as (target, fallback):
        place = place_of(source, target, fallback)
        out = out or Path(f"{title(place)}.yaml")
        require_new(out)
        found = find(place, task, variant)
        if asks and not wanted:
            wanted = ask_needs()
        started = start(found, out, namespace_of(namespace, target, asks=asks), wanted)
    show_started(session.console, started, hub)


def place_of(source: str, target: Hub, fallback: Hub) -> Folder | Repository:
    """Return a folder, or a repository at its newest commit: of the Hub that is published to, else of the other."""
    from pipeline.fleet.starter import locate
    from pipeline.recipe.addresses import read_name
    from pipeline.recipe.names import is_path
    from pipeline.source.layout import Folder

    if Path(source).is_file():
        remedy = "Name the folder that it lies in, or a repository."
        raise RecipeError("This is a file, and a model is a folder or a repository.", where=source, remedy=remedy)
    if Path(source).exists() or is_path(source):
        return Folder(Path(source))
    return locate(*read_name(source, None, target.endpoint), (target, fallback))


def ask_needs() -> tuple[str, ...]:
    """Ask what targets are for; nothing said is what the source allows."""
    from pipeline.fleet.starter import NEEDS, needs_of

    text = f"For which of {', '.join(NEEDS)} (nothing: the smallest card that is enough, and cpu)"
    said = typer.prompt(text, default="", show_default=False, err=True)
    return needs_of(said) if said else ()


def namespace_of(given: str, target: Hub, *, asks: bool) -> str:
    """Return where to publish: as given, as somebody says who is asked, or the token's user.

    Raises:
        RecipeError: It is no name, or nobody says one.
    """
    from pipeline.recipe.names import UnfitError, namespace

    bearer = None if given else target.bearer()
    said = given or (bearer.name if bearer else "")
    if asks and not given:
        said = typer.prompt("Publish under which user or organization", default=said or None, err=True)
    if not said:
        what = "Where to publish is not known, for no token is set."
        raise RecipeError(what, remedy="Give --namespace NAME, or sign in with `hf auth login` (or HF_TOKEN).")
    try:
        return namespace(said)
    except UnfitError as error:
        raise RecipeError(f"{str(error)[:1].upper()}{str(error)[1:]}.", remedy="Give another --namespace.") from error


def show_started(console: Console, started: Started, hub: str) -> None:
    """Show what was written, and the next command."""
    following = f"publish check {started.recipe}"
    told = [f"{name} for {' and '.join(needs)}" for name, needs in started.targets.items()]
    written = " and ".join(started.new)
    lines = [f"{written} written: {started.task}, {', '.join(told)}"]
    if started.prompts and started.prompts not in started.new:
        lines.append(f"it asks the prompts of {started.prompts}, which was there already")
    lines.append(f"next: {following}")
    lines += [f"then: publish plan {started.recipe}{f' --hub {hub}' if hub else ''}"]
    console.result({"result": started.model_dump(mode="json"), "next": following}, "\n".join(lines))
