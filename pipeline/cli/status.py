"""Status: every recipe and target beside what the Hub has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.cli.options import HubName, Recipes

if TYPE_CHECKING:
    from pipeline.fleet.status import TargetStatus


def status(ctx: typer.Context, recipes: Recipes = None, hub: HubName = "") -> None:
    """Show every recipe and target beside what the Hub has."""
    session: Session = ctx.obj
    from pipeline.fleet.status import FleetStatus

    paths = session.recipes(recipes)
    with session.hubs_soon(session.home(paths[0]), hub) as (target, fallback):
        fleet = FleetStatus([session.load(path) for path in paths], session.home(paths[0]), target, fallback)
        found = fleet.standings()
    show_standings(session.console, found)
    if unread := max(standing.exit_code for standing in found):
        raise typer.Exit(unread)


def show_standings(console: Console, found: Sequence[TargetStatus]) -> None:
    """Show where targets stand, and what is to be known of each beneath."""
    console.result({"targets": [standing.model_dump(mode="json") for standing in found]})
    if console.mode == "json":
        return
    rows = [[each.repository, each.state, each.tag or "", (each.commit or "")[:12]] for each in found]
    console.table("", ["repository", "state", "tag", "main"], rows)
    for standing in found:
        made = ", ".join(f"{name} {version}" for name, version in standing.versions.items())
        for text in (*(finding.text for finding in standing.findings), *standing.notes, made and f"made with {made}"):
            if text:
                console.say(f"  {standing.repository}: {text}")
