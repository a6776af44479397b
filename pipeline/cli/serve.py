"""Serve: the embedded Hub on loopback."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from pipeline.cli.context import Session, local_hub_errors


class Serving(TyperCommand):
    """A command whose help explains faults; their language is loaded when somebody asks for it."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as typer calls it
        """Write what stands below the options."""
        from localhub.faults import GRAMMAR

        formatter.write(f"\n{GRAMMAR}\n")


def serve(
    ctx: typer.Context,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port on loopback.")] = 8080,
    fault: Annotated[
        list[str] | None, typer.Option("--fault", metavar="RULE", help="Fail on purpose; may be given again.")
    ] = None,
) -> None:
    """Run the embedded Hub on loopback, over the store in the home."""
    session: Session = ctx.obj
    root = session.home() / "hub"
    with local_hub_errors():
        from localhub.faults import Faults, Seen
        from localhub.server import serve as serve_hub

    def told(seen: Seen) -> None:
        if seen.rule is not None:
            session.console.say(f"fault: {seen.rule} for {seen.method} {seen.path}")

    def ready(endpoint: str) -> None:
        session.console.say(f"The embedded Hub serves {root} at {endpoint} (Ctrl-C ends it).")

    with local_hub_errors():
        faults = Faults(fault, told=told) if fault else None
        serve_hub(root, port, faults, ready)
