"""The ``publish`` command: one file a verb, and the only readers of argv and environment."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup, TyperOption

from pipeline.cli import (
    advise,
    bump,
    can_i_run,
    changed,
    check,
    clean,
    doctor,
    init,
    lint,
    plan,
    quantize,
    release,
    report,
    run,
    serve,
    status,
    tune,
    validate,
    verify,
    watch,
    yank,
)
from pipeline.cli.console import LOG, Console, Mode
from pipeline.cli.context import Session
from pipeline.cli.failures import show_defect, show_error, show_usage
from pipeline.cli.logs import listen_to_libraries
from pipeline.errors import CannotHereError, PublishError
from pipeline.worker.startup import skip_gc_at_exit

INTERRUPTED = 130
NAME = "publish"  # also of the variable by which a shell asks what may follow, however the program was started


class Verbs(TyperGroup):
    """The verbs. The options that all of them share may stand on either side of the verb."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        return list(super().parse_args(ctx, self.shared_first(args)))

    def shared_first(self, args: list[str]) -> list[str]:
        """Put the shared options before the verb, where they are looked for; an option's value is left what it is."""
        shared: list[str] = []
        others: list[str] = []
        ours, theirs = options_of(self), dict[str, bool]()
        words = iter(args)
        for word in words:
            if word == "--":
                return [*shared, *others, word, *words]
            name, given, _ = word.partition("=")
            place = shared if name in ours else others
            place.append(word)
            if {**theirs, **ours}.get(name, False) and not given:
                place.extend(islice(words, 1))
            if word in self.commands and not theirs:
                theirs = options_of(self.commands[word])
        return [*shared, *others]


def options_of(command: Any) -> dict[str, bool]:
    """Return the options of a command, and whether each takes a value."""
    named = [param for param in command.params if isinstance(param, TyperOption)]
    return {word: not param.is_flag for param in named for word in (*param.opts, *param.secondary_opts)}


app = typer.Typer(
    cls=Verbs,
    help="Turn recipes into verified, pre-quantized checkpoints on a Hugging Face Hub.",
    epilog="These options may stand on either side of the verb.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(
    ctx: typer.Context,
    *,
    json: Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")] = False,
    home: Annotated[
        Path | None, typer.Option("--home", envvar="PUBLISH_HOME", help="The folder of store, embedded Hub and logs.")
    ] = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where in the code an error came from.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what libraries log and warn of.")] = False,
) -> None:
    """Read what every verb shares."""
    session: Session = ctx.obj
    mode: Mode = "json" if json else "github" if os.environ.get("GITHUB_ACTIONS") == "true" else "people"
    session.console, session.given_home, session.tracebacks = Console(mode), home, traceback
    # Read by huggingface_hub and torch when they are imported, which show their warnings by themselves.
    os.environ.setdefault("HF_HUB_VERBOSITY", "info" if verbose else "error")
    if not verbose:
        os.environ.setdefault("TORCH_LOGS", "-all")
    listen_to_libraries(shown=verbose)


# The verbs in the order in which their help lists them; each is a file beside this one.
for command in (
    init.init,
    check.check,
    changed.changed,
    plan.plan,
    run.run,
    release.release,
    quantize.quantize,
    validate.validate,
    report.report,
    status.status,
    doctor.doctor,
    clean.clean,
    tune.tune,
    bump.bump,
    watch.watch,
    verify.verify,
    lint.lint,
    can_i_run.can_i_run,
    advise.advise,
    yank.yank,
):
    app.command()(command)
app.command(cls=serve.Serving)(serve.serve)


def guarded(session: Session, call: Callable[[], int | None]) -> int:
    """Run the command and return the exit code that the design gives to how it ended."""
    try:
        code = call() or 0
    except PublishError as error:
        show_error(session.console, error, tracebacks=session.tracebacks)
        return error.exit_code
    except typer.TyperException as error:
        return show_usage(session.console, error)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # whatever else ends a run is a defect, and the user is told so
        return show_defect(session.console, error, session.log, tracebacks=session.tracebacks)
    if code == INTERRUPTED:
        session.console.say("interrupted; the same command continues where it stopped")
    return code


def main() -> None:
    """Run the command."""
    # Read by huggingface_hub when it is imported: progress is the console's.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    open_streams()
    listen_to_signals()
    logging.getLogger(LOG).addHandler(logging.NullHandler())  # what fails before there is a log is no traceback
    skip_gc_at_exit()
    session = Session(Console("people"), None, tracebacks=False)  # until the command line was read
    try:
        code = guarded(session, lambda: app(prog_name=NAME, obj=session, standalone_mode=False))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except OSError:  # a stream takes nothing more, so there is nobody to tell
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        code = CannotHereError.exit_code
    sys.exit(code)


def listen_to_signals() -> None:
    """Be interrupted by whatever ends a process politely, so that nothing is left in its temporary folder.

    A parent may have had the ends of its children ignored; how ours end would be lost with that.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # and not what nohup ignores
            signal.signal(number, signal.default_int_handler)


def open_streams() -> None:
    """Have stdout and stderr take whatever text there is, in any locale, also where a shell closed them."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  as long as we are
        cast("TextIOWrapper", getattr(sys, name)).reconfigure(errors="backslashreplace")
