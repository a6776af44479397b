"""Verify: a published repository, checked as its consumers meet it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.cli.options import HubName
from pipeline.errors import RecipeError

if TYPE_CHECKING:
    from pipeline.verify.verification import Verified


def verify(
    ctx: typer.Context,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="The published repository.")],
    *,
    revision: Annotated[str | None, typer.Option("--revision", help="A commit, branch or tag; default main.")] = None,
    hub: HubName = "",
    key: Annotated[Path | None, typer.Option("--key", help="The public key that should have signed, as PEM.")] = None,
    identity: Annotated[str, typer.Option("--identity", help="Who should have signed without a key.")] = "",
    issuer: Annotated[str, typer.Option("--issuer", help="Who vouches for that identity.")] = "",
    load: Annotated[bool, typer.Option(help="Whether to load it here as well.")] = True,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make it again and compare the tensors.")] = False,
    recipe: Annotated[Path | None, typer.Option("--recipe", help="A recipe that it should be made of.")] = None,
) -> None:
    """Check as a consumer what the Hub serves: every byte, where it comes from, and whether it loads."""
    session: Session = ctx.obj
    from pipeline.hub.client import Hub
    from pipeline.recipe.addresses import read_name
    from pipeline.release.signing import Expected
    from pipeline.verify.rebuild import ReleaseRebuild, workroom
    from pipeline.verify.verification import Wanted
    from pipeline.verify.verification import verify as verify_release

    if bool(identity) != bool(issuer) or (key and identity):
        raise RecipeError("Give --identity and --issuer together, or --key alone.")
    home, local = session.home(recipe), session.load(recipe) if recipe else None
    listen = session.console.listen
    with ExitStack() as stack:
        stack.enter_context(session.console)
        target, again = stack.enter_context(session.hub(home, hub)), None
        if rebuild:
            folder = stack.enter_context(workroom(home, listen))
            again = ReleaseRebuild(folder, target, Hub(listen=listen), listen, local).rebuild
        repo, revision = read_name(repo, revision, target.endpoint)
        wanted = Wanted(revision, Expected(key, identity, issuer), load, local, again)
        found, failure = verify_release(target, repo, wanted, home, session.vocabulary, listen)
    show_verified(session.console, found)
    if failure:
        raise failure


def show_verified(console: Console, found: Verified) -> None:
    """Show what a verification found, a line for each check."""
    console.result({"result": found.model_dump(mode="json")})
    if console.mode != "json":
        rows = [[check.name, check.state, check.text] for check in found.checks]
        console.table(f"{found.repository}@{found.commit[:12]}", ["check", "state", "found"], rows)
