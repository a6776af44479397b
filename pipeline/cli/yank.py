"""Yank: a published tag, withdrawn in card and metadata."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.context import Session
from pipeline.cli.options import HubName


def yank(
    ctx: typer.Context,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="The published repository.")],
    tag: Annotated[str, typer.Argument(metavar="TAG", help="The tag to withdraw; it stays.")],
    *,
    why: Annotated[str, typer.Option("--why", help="The reason, as text.")],
    new_version: Annotated[
        str | None, typer.Option("--new-version", metavar="REPO", help="The repository to use instead.")
    ] = None,
    hub: HubName = "",
) -> None:
    """Say in card and metadata that a tag is withdrawn; nothing is deleted."""
    session: Session = ctx.obj
    from pipeline.recipe.addresses import read_name
    from pipeline.release.yank import yank as withdraw

    with session.hub(session.home(), hub) as target:
        repo, _ = read_name(repo, tag, target.endpoint)
        new_version = read_name(new_version, None, target.endpoint)[0] if new_version else None
        done = withdraw(target, repo, tag, why, new_version)
    how = "is withdrawn now" if done.state == "yanked" else "was withdrawn before, and nothing was changed"
    session.console.result({"result": done.model_dump(mode="json")}, f"{repo} {tag} {how}: {done.why}")
