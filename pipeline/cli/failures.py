"""How the command shows that it failed."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from pipeline.cli.console import LOG, Console
from pipeline.errors import PublishError, RecipeError


def show_error(console: Console, error: PublishError, *, tracebacks: bool) -> None:
    """Show an error, and where it came from if that was asked for; the log has both."""
    logging.getLogger(LOG).error("%s", error, exc_info=error)
    if tracebacks:
        console.say("".join(traceback.format_exception(error)))
    console.error(error)


def show_usage(console: Console, error: Exception) -> int:
    """Show what typer finds wrong with the command line, or the help where there was nothing on it."""
    told = getattr(error, "format_message", lambda: str(error))()
    usage = getattr(getattr(error, "ctx", None), "get_usage", lambda: "")()
    console.say(told if told.startswith("Usage:") else f"{usage}\nerror: {told}")
    return RecipeError.exit_code


def show_defect(console: Console, error: Exception, log: Path | None, *, tracebacks: bool) -> int:
    """Show that the program itself failed: one line, and on request where."""
    told = f"; please report it with {log}" if log else "; please report it"
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    defect = PublishError(
        f"This is a defect of publish, not of the recipe ({reason}).",
        remedy=f"The same command with --traceback shows where{told}.",
    )
    defect.__cause__ = error
    show_error(console, defect, tracebacks=tracebacks)
    return defect.exit_code
