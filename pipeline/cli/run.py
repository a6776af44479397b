"""Run: a recipe's whole way, to the release."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.cli.failures import show_error
from pipeline.cli.options import HubName, RecipePath, Streamed, Targets
from pipeline.cli.summary import summarize
from pipeline.errors import PublishError, RecipeError
from pipeline.events import Event
from pipeline.files import human_size, require_readable_name
from pipeline.locks import temporary_in

if TYPE_CHECKING:
    from pipeline.hub.client import Hub
    from pipeline.release.signing import Signer
    from pipeline.run import Outcome
    from pipeline.trial import Tried

Ended = TypeVar("Ended")


def run(
    ctx: typer.Context,
    recipe: RecipePath,
    target: Targets = None,
    hub: HubName = "",
    stop_after: Annotated[
        str,
        typer.Option(
            "--stop-after", metavar="STAGE", help="End after this of fetch, quantize, validate, card and release."
        ),
    ] = "release",
    seal: Annotated[
        Path | None, typer.Option("--seal", help="Where `--stop-after card` lays what `publish release` releases.")
    ] = None,
    *,
    stream: Streamed = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make again what is published, and release it where its bytes differ.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite what somebody changed on main since the last release.")
    ] = False,
    trial: Annotated[
        bool, typer.Option("--trial", help="Try the targets on a tiny model, offline, and release nothing.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where `--trial` leaves a page on each target.")
    ] = None,
) -> None:
    """Fetch, quantize, validate, write the card and release."""
    session: Session = ctx.obj
    from pipeline.run import STAGES

    if stop_after not in STAGES:
        remedy = f"The stages are {', '.join(STAGES)}; `publish plan` shows what is before them."
        raise RecipeError(f"There is no stage {stop_after!r}.", remedy=remedy)
    if seal and stop_after != "card":
        remedy = "Add `--stop-after card`; `publish release` goes on from there."
        raise RecipeError("What is sealed is released later.", where="--seal", remedy=remedy)
    if seal:
        require_readable_name(seal.resolve(), "Name another folder with --seal.")
    if trial:
        if seal or stream or rebuild or replace or stop_after != STAGES[-1]:
            remedy = "Leave --stop-after, --seal, --stream, --rebuild and --replace out."
            raise RecipeError("A trial ends with a card that nobody is shown.", where="--trial", remedy=remedy)
        try_out(session, recipe, hub, target or (), out)
        return
    if out:
        remedy = "Add `--trial`, or write the pages of what was judged with `publish report RECIPE --out DIR`."
        raise RecipeError("A run writes no pages.", where="--out", remedy=remedy)
    how = {"stream": stream, "rebuild": rebuild, "replace": replace}
    with session.engine(recipe, hub, signer=signer(), seal=seal, **how) as engine:
        names = engine.prepare(target or ())
        end(session, engine.run(names, stop_after), engine.hub, engine.seal)
    if seal and session.console.mode != "json":
        options = [*(f" --target {name}" for name in target or ()), f" --hub {hub}" if hub else ""]
        session.console.say(f"next: publish release {recipe} --sealed {seal}{''.join(options)}")


def end(session: Session, ends: Iterable[Outcome | PublishError], hub: Hub, sealed: Path | None) -> None:
    """Show what became of each target as it ends, and end as the first that failed.

    Args:
        session: How to speak.
        ends: What becomes of each.
        hub: The Hub that they are for.
        sealed: Where what was made of each lies, if anywhere.
    """
    outcomes, failures = gathered(session, ends)
    show_outcomes(session.console, outcomes, failures)
    summarize(outcomes, hub, sealed)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def gathered(session: Session, ends: Iterable[Ended | PublishError]) -> tuple[list[Ended], list[PublishError]]:
    """Return what became of targets and what failed, once all have ended; an error is shown as it comes, and once."""
    outcomes: list[Ended] = []
    failures: list[PublishError] = []
    for ended in ends:
        if isinstance(ended, PublishError):
            if str(ended) not in map(str, failures):
                show_error(session.console, ended, tracebacks=session.tracebacks)
            failures.append(ended)
        else:
            outcomes.append(ended)
    return outcomes, failures


def try_out(session: Session, recipe: Path, hub: str, targets: Sequence[str], pages: Path | None) -> None:
    """Try targets on a stand-in for their source, leave pages on them if asked, and end as the first that failed."""
    from pipeline.plan.model import chosen
    from pipeline.trial import Trial, stand_in

    loaded, home = session.load(recipe), session.home(recipe)
    names = chosen(loaded.recipe, targets)
    if pages and pages.exists() and not pages.is_dir():
        remedy = "Name another with --out."
        raise RecipeError("This is a file where a folder is needed.", where=str(pages), remedy=remedy)
    with session.console, session.hub(home, hub) as source, temporary_in(home, "trial") as folder:
        listen = session.console.listen
        found = stand_in(loaded, source, folder)
        listen(Event("note", "trial", recipe.name, f"the stand-in is {found.what}"))
        trial = Trial(loaded, names, found, folder, home / "answers", listen, pages)
        tried, failures = gathered(session, trial.run())
    show_tried(session.console, names, tried, failures)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def signer() -> Signer | None:
    """Return who signs what is released: the owner of the key that is named, else the workflow that this is."""
    from pipeline.release.signing import Signer, installed

    if key := os.environ.get("PUBLISH_SIGNING_KEY"):
        return Signer(Path(key).absolute())
    if os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL") and installed():
        return Signer(workload=os.environ.get("GITHUB_WORKFLOW_REF", "workflow"))
    return None


def show_outcomes(console: Console, outcomes: list[Outcome], failures: list[PublishError]) -> None:
    """Show what became of the targets; for programs it is the last line."""
    codes = [failure.exit_code for failure in failures]
    console.result({"result": [done.model_dump(mode="json") for done in outcomes], "failures": codes})
    rows = [
        [
            done.repository,
            done.tag or "",
            done.state,
            done.verdict or "",
            human_size(done.source_bytes),
            human_size(done.result_bytes),
        ]
        for done in outcomes
    ]
    if rows and console.mode != "json":
        console.table("", ["repository", "tag", "state", "verdict", "source", "result"], rows)


def show_tried(console: Console, names: Sequence[str], outcomes: list[Tried], failures: list[PublishError]) -> None:
    """Show what became of the targets of a trial; for programs it is the last line."""
    codes = [failure.exit_code for failure in failures]
    console.result({"result": [done.model_dump(mode="json") for done in outcomes], "failures": codes})
    known = {done.target: done for done in outcomes}
    rows = [tried_row(name, known.get(name)) for name in names]
    if rows and console.mode != "json":
        console.table("", ["target", "state", "limits say", "stand-in", "result"], rows)


def tried_row(name: str, done: Tried | None) -> list[str]:
    """Return the row of a target in the table of a trial, with sizes where something was made."""
    if done is None or done.state == "untried":
        return [name, done.state if done else "failed", "", "", ""]
    return [name, done.state, done.verdict or "", human_size(done.source_bytes), human_size(done.result_bytes)]
