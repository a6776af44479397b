"""Watch: whether what is published still loads and answers, and whether the sources of recipes moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.bump import headline
from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.cli.failures import show_error
from pipeline.cli.findings import findings, settled, write_findings
from pipeline.cli.options import HubName
from pipeline.errors import PublishError, RecipeError, VerificationError

if TYPE_CHECKING:
    from pipeline.fleet.bump import Bumped
    from pipeline.fleet.watch import WatchedRecipe
    from pipeline.fleet.watched import Watched
    from pipeline.recipe import Loaded, Vocabulary

HOUR = 3600.0


def watch(
    ctx: typer.Context,
    subjects: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REPO|RECIPE]...", help="Published repositories, and recipes; all under recipes/ if none is named."
        ),
    ] = None,
    *,
    hub: HubName = "",
    findings_to: Annotated[
        Path | None,
        typer.Option(
            "--findings",
            metavar="DIR",
            help="Write a text for each issue or pull request, and beside it the recipe that it proposes. What lies "
            "there is open, and at most three are; what is settled is removed.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long loading or answering may take.")] = HOUR,
    keep: Annotated[bool, typer.Option("--keep-downloads", help="Keep in the home what was downloaded.")] = False,
) -> None:
    """Try whether what is published loads and answers with the versions here, and look whether sources moved."""
    session: Session = ctx.obj
    from pipeline.fleet import bump
    from pipeline.fleet.watch import Watch, watch_recipe
    from pipeline.hub.client import Hub
    from pipeline.recipe.addresses import read_name
    from pipeline.run import Engine

    named = [each for each in subjects or [] if not is_recipe(each)]
    given = [Path(each) for each in subjects or [] if is_recipe(each)]
    paths = session.recipes(given) if given or not subjects else []
    home = session.home(paths[0] if paths else None)
    console, recipes, failures = session.console, [], list[int]()
    made_by: dict[str, tuple[str, str]] = {}
    read: dict[str, Loaded] = {}
    written: list[Path] = []
    with console, session.hub(home, hub) as target:
        target.reach()
        fallback, watcher = Hub(listen=console.listen), Watch(target, home, console.listen, seconds, keep)
        asked = dict.fromkeys(read_name(each, None, target.endpoint) for each in named)
        for path in paths:
            try:
                loaded = bump.fill(path, session.vocabulary)
            except PublishError as error:
                show_error(console, error, tracebacks=session.tracebacks)
                failures.append(error.exit_code)
                continue
            recipes.append(watch_recipe(loaded, Engine(loaded, home, target, fallback, console.listen)))
            read[str(path)] = loaded
            made_by |= {repo: (str(path), name) for name, repo in loaded.recipe.repositories.items()}
        found = [watcher.look(*each) for each in asked]
        found += [watcher.look(repo, expected=False) for repo in made_by if (repo, None) not in asked]
    if findings_to:
        opening = findings(found, recipes, made_by, rebuilds(found, made_by, read, session.vocabulary))
        written = write_findings(opening, findings_to, settled(found, recipes, made_by))
    show_watched(console, found, recipes, written)
    failures += [each.exit_code for each in found] + [each.exit_code for each in recipes]
    failures += [VerificationError.exit_code for each in found if each.loads is False]
    if code := next(filter(None, failures), 0):
        raise typer.Exit(code)


def rebuilds(
    found: Sequence[Watched],
    made_by: Mapping[str, tuple[str, str]],
    read: Mapping[str, Loaded],
    vocabulary: Vocabulary,
) -> dict[str, Bumped]:
    """Return the recipes of what does not load with a build that is to come, but for those that have one already."""
    from pipeline.fleet.bump import bump_build

    builds: dict[str, Bumped] = {}
    for each in found:
        path, _ = made_by.get(each.repository, ("", ""))
        if each.loads is False and path and read[path].recipe.build <= each.build:
            with suppress(RecipeError):  # somebody has to write it by hand, as the issue says
                builds[path] = bump_build(read[path], vocabulary, write=False)
    return builds


def show_watched(
    console: Console, found: Sequence[Watched], recipes: Sequence[WatchedRecipe], written: Sequence[Path]
) -> None:
    """Show what was found, a line each."""
    results = {
        "repositories": [each.model_dump(mode="json") for each in found],
        "recipes": [each.model_dump(mode="json") for each in recipes],
        "findings": [str(path) for path in written],
    }
    lines = [*map(of_repository, found), *(line for each in recipes for line in of_recipe(each))]
    console.result(results, "\n".join([*lines, *(f"{path}: written" for path in written)]))


def is_recipe(subject: str) -> bool:
    """Return whether somebody names a recipe's file, and no repository."""
    return subject.endswith((".yaml", ".yml"))


def of_repository(found: Watched) -> str:
    """Return what came of trying a repository, in one line."""
    name = f"{found.repository}@{found.commit[:12]}" if found.commit else found.repository
    if found.loads == "unknown":
        return f"{name}: not known whether it loads here: {found.reason}"
    return f"{name}: loads and answers {found.reason}" if found.loads else f"{name}: {found.fault}: {found.reason}"


def of_recipe(found: WatchedRecipe) -> list[str]:
    """Return whether the source of a recipe moved, a line each of its repositories."""
    if found.moved == "unknown":
        return [f"{found.recipe}: not known whether its source moved: {found.reason}"]
    if found.reason:
        return [f"{found.recipe}: {found.reason}"]
    return [
        f"{found.recipe}: {headline(pin)}" + (f"; next: publish bump {found.recipe}" if pin.moved else "")
        for pin in found.pins
    ]
