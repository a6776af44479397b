"""Doctor: whether everything that publishing takes is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from pipeline.cli.console import Console
from pipeline.cli.context import Session, checkout_of
from pipeline.cli.options import HubName, Recipes
from pipeline.errors import CannotHereError

if TYPE_CHECKING:
    from pipeline.fleet.machine import Remark


def doctor(ctx: typer.Context, recipes: Recipes = None, hub: HubName = "") -> None:
    """Look at token, destinations, libraries, device, disk and memory; each line ends in what to do."""
    session: Session = ctx.obj
    from pipeline.fleet.doctor import Doctor, on_github

    paths = session.recipes(recipes)
    home = session.home(paths[0])
    github = os.environ.get("GITHUB_REPOSITORY") or on_github(checkout_of(paths[0].parent))
    with session.hubs_soon(home, hub) as (target, fallback):
        found = Doctor([session.load(path) for path in paths], home, target, fallback, github).remarks()
    show_remarks(session.console, found)
    if any(remark.level == "problem" for remark in found):
        raise typer.Exit(CannotHereError.exit_code)


def show_remarks(console: Console, found: Sequence[Remark]) -> None:
    """Show an examination, a line for each thing that was looked at."""
    lines = [f"{each.level:8}{each.topic}: {each.text.rstrip('.')}. {each.remedy}" for each in found]
    console.result({"remarks": [asdict(each) for each in found]}, "\n".join(lines))
