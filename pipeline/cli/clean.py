"""Clean: what the home holds, and the removal of what no recipe needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipeline.cli.console import Console
from pipeline.cli.context import Session
from pipeline.cli.options import HubName, Recipes
from pipeline.files import human_size


def clean(
    ctx: typer.Context,
    recipes: Recipes = None,
    *,
    hub: HubName = "",
    keep_sources: Annotated[bool, typer.Option("--keep-sources", help="Keep what was downloaded.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; show what would be removed.")] = False,
) -> None:
    """Show what the home holds and which target needs it, and remove what none of the recipes needs."""
    session: Session = ctx.obj
    from pipeline.events import silent
    from pipeline.fleet import clean as cleaning
    from pipeline.run import Engine
    from pipeline.store import Store

    paths = session.recipes(recipes)
    home = session.home(paths[0])
    with session.hubs_soon(home, hub) as (target, fallback):
        store = Store(home / "store", session.console.listen)
        engines = [Engine(session.load(path), home, target, fallback, silent, shared=store) for path in paths]
        found = cleaning.clean(engines, store, keep_sources=keep_sources, dry_run=dry_run)
    show_cleaned(session.console, found.model_dump(mode="json"))


def show_cleaned(console: Console, found: Mapping[str, Any]) -> None:
    """Show what a home held and what became of it, and what the disk has again."""
    console.result(found)
    if console.mode == "json":
        return
    gone = "would go" if found["dry_run"] else "removed"
    fates = {"needed": "", "kept": "kept", "used": "in use", "removed": gone}
    rows = []
    for each in found["holdings"]:
        kind, who = each["kind"] + ("" if each["whole"] else ", unfinished"), each["needed_by"]
        more = f" and {len(who) - 2} more" if len(who) > 2 else ""
        told = ", ".join(who[:2]) + more if who else fates[each["fate"]]
        rows.append([kind, each["key"][:24], human_size(each["size"]), told])
    console.table("", ["what", "key", "size", "needed by"], rows)
    verb = "would be freed" if found["dry_run"] else "freed"
    console.say(f"{human_size(found['freed'])} {verb}")
