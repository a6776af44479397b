"""Advise: which backend and scheme for which need, with what shows it."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.context import Session

# Said again, for reading it all takes a while.
NEEDS = "real-time, cpu, web, memory, one-file, comfyui, blackwell, server, embedded, lora and compile"


def advise(
    ctx: typer.Context,
    *,
    needs: Annotated[
        str, typer.Option("--for", metavar="NEED", help=f"Of {NEEDS}; several with commas; default all.")
    ] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Write the table of docs/choosing.md.")] = False,
) -> None:
    """Say which backend and scheme to choose for a need, and what shows it."""
    session: Session = ctx.obj
    from pipeline.fleet import advice

    rows = advice.rows_for(needs)
    lines = []
    for row in rows:
        lines += [f"{row.title} (--for {row.need}): {row.choice}. {row.because}"]
        lines += [f"    {found.text}" for found in row.evidence]
    text = advice.markdown(rows) if markdown else "\n".join(lines)
    session.console.result({"needs": [row.json() for row in rows]}, text)
