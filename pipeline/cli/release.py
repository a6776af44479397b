"""Release: what another run has made and judged, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.context import Session
from pipeline.cli.options import HubName, RecipePath, Targets
from pipeline.cli.run import end, signer
from pipeline.errors import PublishError, RecipeError
from pipeline.files import require_readable_name

if TYPE_CHECKING:
    from pipeline.run import Engine, Outcome


def release(
    ctx: typer.Context,
    recipe: RecipePath,
    sealed: Annotated[Path, typer.Option("--sealed", help="Where `publish run --seal` laid it.")],
    target: Targets = None,
    hub: HubName = "",
    manifest: Annotated[
        str, typer.Option("--manifest", metavar="SHA256", help="What the SHA-256 of its manifest must be.")
    ] = "",
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite what somebody changed on main since the last release.")
    ] = False,
) -> None:
    """Release what `publish run --seal` laid into a folder; nothing is fetched, made or judged."""
    session: Session = ctx.obj
    from pipeline.plan.model import chosen
    from pipeline.release.sealed import sealed_under

    if manifest and not re.fullmatch(r"[0-9a-f]{64}", manifest):
        remedy = "Give the 64 hex digits, in lower case, that the run which sealed it told."
        raise RecipeError(f"{manifest!r} is no SHA-256.", where="--manifest", remedy=remedy)
    with session.engine(recipe, hub, signer=signer(), replace=replace) as engine:
        folder = sealed.resolve()
        require_readable_name(folder, "Move it to another folder, and name that with --sealed.")
        names = chosen(engine.loaded.recipe, target or sealed_under(folder, engine.loaded))
        end(session, released(engine, names, folder, manifest), engine.hub, folder)


def released(engine: Engine, targets: Sequence[str], sealed: Path, manifest: str) -> Iterator[Outcome | PublishError]:
    """Release targets, and yield what became of each."""
    for name in targets:
        try:
            yield engine.release_sealed(name, sealed / name, manifest)
        except PublishError as error:
            yield error
