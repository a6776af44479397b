"""Bump: the newest commits of what a recipe pins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.cli.failures import show_error
from pipeline.cli.options import HubName
from pipeline.errors import PublishError, RecipeError
from pipeline.files import human_size

if TYPE_CHECKING:
    from pipeline.fleet.bump import Bumped, BumpedPin
    from pipeline.recipe.pins import Kind

LONGEST = 40  # lines of differences that people are shown; --json has all


def bump(
    ctx: typer.Context,
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="The recipes' YAML files.")],
    *,
    hub: HubName = "",
    loras: Annotated[bool, typer.Option("--loras", help="Move the commits of its LoRAs, too.")] = False,
    judges: Annotated[bool, typer.Option("--judges", help="Move the commits of its judging models, too.")] = False,
    datasets: Annotated[bool, typer.Option("--datasets", help="Move the commit of its prompts' dataset, too.")] = False,
    build: Annotated[
        bool, typer.Option("--build", help="Raise its `build:` instead, so that all of it is made again.")
    ] = False,
    check_only: Annotated[
        bool, typer.Option("--check-only", help="Write nothing; `moved` in the JSON says whether there is news.")
    ] = False,
) -> None:
    """Pin the newest commit of the source, with what differs there, and fill in every commit that a recipe lacks."""
    session: Session = ctx.obj
    from pipeline.fleet import bump as bumping
    from pipeline.run import Engine

    chosen: dict[Kind, bool] = {"source": True, "loras": loras, "judges": judges, "datasets": datasets}
    kinds = [kind for kind, wanted in chosen.items() if wanted]
    if build and len(kinds) > 1:
        what, remedy = "--build moves no commit.", "Run it by itself; another `publish bump` moves what is pinned."
        raise RecipeError(what, remedy=remedy)
    home, done, failures = session.home(recipes[0]), [], list[PublishError]()
    with session.hubs_soon(home, hub) as (target, fallback):
        for path in session.recipes(recipes):
            try:
                loaded = bumping.fill(path, session.vocabulary)
                engine = Engine(loaded, home, target, fallback, session.console.listen)
                if build:
                    done.append(bumping.bump_build(loaded, session.vocabulary, write=not check_only))
                else:
                    done.append(bumping.bump(loaded, engine, kinds, write=not check_only))
            except PublishError as error:
                show_error(session.console, error, tracebacks=session.tracebacks)
                failures.append(error)
    show_bumped(session.console, done)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def show_bumped(console: Console, done: list[Bumped]) -> None:
    """Show which commits moved and what differs there."""
    bumped = [each.model_dump(mode="json") for each in done]
    console.result({"bumped": bumped}, "\n".join(line for each in done for line in told(each)))


def told(bumped: Bumped) -> list[str]:
    """Return what became of a recipe, for people."""
    lines = [line for pin in bumped.pins for line in (f"{bumped.recipe}: {headline(pin)}", *shortened(details(pin)))]
    if bumped.build:
        lines = [f"{bumped.recipe}: build {bumped.build - 1} → {bumped.build}"]
    ending = "written; next: publish plan" if bumped.written else "not written; to write it: publish bump"
    ending += " --build" * (bumped.build is not None and not bumped.written)
    return [*lines, f"{bumped.recipe}: {ending} {bumped.recipe}"] if bumped.moved else lines


def headline(pin: BumpedPin) -> str:
    """Return where a repository was and is, in one line."""
    name = f"{pin.repo} ({pin.kind})" if pin.kind != "source" else pin.repo
    if not pin.moved:
        return f"{name} is at its newest commit, {pin.after}"
    return f"{name} {pin.before[:12] or '(no commit)'} → {pin.after[:12]}"


def details(pin: BumpedPin) -> list[str]:
    """Return what differs, a line each: license and gate first, for they decide whether it may be used."""
    lines = [pin.note] if pin.note else []
    if pin.moved and pin.gate:
        lines.append(f"gated: {pin.gate}")
    if found := pin.differences:
        lines += [change(key, *both) for key, both in found.license.items()]
        lines += [change(name, *map(size, both)) for name, both in found.files.items()]
        lines += [change(f"tensor {name}", *both) for name, both in found.tensors.items()]
    return lines


def size(count: int | None) -> str | None:
    """Return the size of a file that may not be there."""
    return None if count is None else human_size(count)


def change(name: str, before: str | None, after: str | None) -> str:
    """Return one difference in a line."""
    if before is None or after is None:
        return f"{'added' if before is None else 'removed'} {name}: {after or before}"
    return f"changed {name}: {before} → {after}"


def shortened(lines: list[str]) -> list[str]:
    """Return as many lines as a screen has, indented, and how many more there are."""
    more = [f"and {len(lines) - LONGEST} more; --json has all"] if len(lines) > LONGEST else []
    return [f"  {line}" for line in (*lines[:LONGEST], *more)]
