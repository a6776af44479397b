"""Tune: what to keep, or which scheme to raise, so that a target passes."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.context import Session
from pipeline.cli.options import HubName, RecipePath, Targets
from pipeline.errors import VerdictError


def tune(
    ctx: typer.Context,
    recipe: RecipePath,
    target: Targets = None,
    *,
    hub: HubName = "",
    trials: Annotated[int, typer.Option("--trials", min=1, help="How often a few prompts are asked at most.")] = 32,
    write: Annotated[
        bool, typer.Option("--write", help="Change the recipe's file; a diff is shown otherwise.")
    ] = False,
) -> None:
    """Propose what to keep or which scheme to raise so that targets that fail pass at the least size."""
    session: Session = ctx.obj
    from pipeline import tune as tuning
    from pipeline.plan.model import chosen
    from pipeline.recipe.change import require_own_words

    with session.engine(recipe, hub) as engine:
        names, found = chosen(engine.loaded.recipe, tuple(target or ())), []
        require_own_words(engine.loaded, names)
        for name in names:
            found.append(tuning.tune(engine, name, trials))
            session.console.say(tuning.told(found[-1]))
        after = tuning.propose(engine.loaded, found, session.vocabulary)
    change = tuning.difference(engine.loaded, after)
    session.console.result({"tuned": [each.model_dump(mode="json") for each in found], "diff": change}, change)
    if write and change:
        tuning.rewrite(engine.loaded, after)
    if any(each.verdict != "PASS" and each.proposal is None for each in found):
        raise typer.Exit(VerdictError.exit_code)
