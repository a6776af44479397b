"""The one output sink: rich for people, JSON lines for programs, groups for GitHub Actions.

What is meant for programs goes to stdout, what is meant for people to stderr; with ``--json`` stdout carries JSON only.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Literal, Self

from rich.console import Console as Terminal
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.cli.heartbeat import Heartbeat
from pipeline.errors import CannotHereError, PublishError
from pipeline.events import Event
from pipeline.files import human_size

LOG: Final = "quantpress"  # the name under which this program logs
Mode = Literal["people", "json", "github"]
TOKEN: Final = re.compile(r"hf_(?:[A-Za-z0-9]{16,}|(?:jwt|oauth)_[\w.-]+)")  # as the Hub forms them
PASSWORD: Final = re.compile(r"(?<=://)[^\s/]*:[^\s/]*@")  # and its user, in an address
COMMAND: Final = re.compile(r"(?:^|(?<=[\r\n]))(\s*):(?=:)|#(?=#\[)")  # what the runner of a workflow would obey


def hidden(text: str) -> str:
    """Return text without tokens of the Hub, and without passwords in addresses.

    A server may repeat what it was sent, an error repeats the server, and a log begins with the command line.
    """
    return PASSWORD.sub("…@", TOKEN.sub("hf_…", text))


class Console:
    """Shows events, results and errors.

    Args:
        mode: Who reads: people at a terminal, a program, or the log of a GitHub workflow.
    """

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self._broken = False  # stdout
        self.terminal = Terminal(stderr=True, highlight=False, soft_wrap=True)
        self._bars = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.terminal,
            transient=True,
            disable=mode == "github" or not self.terminal.is_terminal,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._heartbeat = Heartbeat(self.say)

    def __enter__(self) -> Self:
        """Begin to show progress: as bars at a terminal, else as a line a minute."""
        self._bars.start()
        if self._bars.disable:
            self._heartbeat.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the progress bars away."""
        self._bars.stop()
        self._heartbeat.stop()

    def listen(self, event: Event) -> None:
        """Show one event, and log it unless it is progress."""
        if event.kind != "progress":
            told = " ".join(part for part in (event.subject, event.stage, event.kind, event.text) if part)
            logging.getLogger(LOG).info(told)
        if self.mode == "json" and event.kind != "progress":
            line = {"event": event.kind, "stage": event.stage, "subject": event.subject, "text": event.text}
            self.emit({**line, "seconds": round(event.seconds, 3), **({"data": event.data} if event.data else {})})
        label = self._plain(f"{event.subject} {event.stage}".strip())
        if event.kind == "progress":
            self._advance(event, label)
            return
        if event.kind == "started":
            self._heartbeat.began(label)
        if event.kind in {"finished", "failed"}:
            self._heartbeat.ended(label)
            self._forget()
        self._say(event, label)

    def _plain(self, text: str) -> str:
        """Return text that shows no token, and that in a workflow's log is no command."""
        text = hidden(text)
        return COMMAND.sub(lambda found: f"{found[0]} ", text) if self.mode == "github" else text

    def _command(self, name: str, text: str = "") -> None:
        """Write a command into a workflow's log, its text escaped as the runner reads it."""
        if self.mode == "github":
            for sign in "%\r\n":
                text = text.replace(sign, f"%{ord(sign):02X}")
            self.terminal.print(f"::{name}::{text}", markup=False)

    def _say(self, event: Event, label: str) -> None:
        text = escape(self._plain(event.text))
        if event.kind == "started":
            self._command("group", label)
        elif event.kind in {"finished", "failed"}:
            sign = "[green]✓[/]" if event.kind == "finished" else "[red]✗[/]"
            self.terminal.print(f"{sign} {escape(label)} [dim]{event.seconds:.1f} s[/] {text}")
            self._command("endgroup")
        elif event.kind == "skipped":
            self.terminal.print(f"[dim]· {escape(label)} {text or 'was done before'}[/]")
        elif event.kind == "note":
            self.terminal.print(f"  {text}")

    def _advance(self, event: Event, label: str) -> None:
        shown = (
            f"{human_size(event.done)} of {human_size(event.total)}"
            if event.unit == "B"
            else f"{event.done} of {event.total} {event.unit}"
        )
        self._heartbeat.went(label, shown)
        if self._bars.disable:
            return
        key = (event.stage, event.subject)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(label, total=event.total or None, amount="")
        speed = self._bars.tasks[self._bars.task_ids.index(self._tasks[key])].speed
        rate = f", {human_size(speed)}/s" if speed and event.unit == "B" else ""
        self._bars.update(self._tasks[key], completed=event.done, total=event.total or None, amount=f"{shown}{rate}")

    def _forget(self) -> None:
        """Take the bars of a stage away that has ended, whatever each of them was of."""
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()

    def emit(self, value: Any) -> None:
        """Write one JSON value as a line of stdout."""
        self._write(hidden(json.dumps(value, ensure_ascii=False, allow_nan=False)))

    def result(self, value: Mapping[str, Any], text: str = "") -> None:
        """Write a verb's result: JSON for programs, text for people."""
        if self.mode == "json":
            self.emit(value)
        elif text:
            self._write(self._plain(text.rstrip("\n")))

    def document(self, text: str) -> None:
        """Write a text to stdout for whoever reads it by its form: as it stands, but for tokens."""
        self._write(hidden(text))

    def _write(self, line: str) -> None:
        """Write a line to stdout, unless it broke before.

        Raises:
            CannotHereError: It takes no more: its disk is full, or whoever read it left.
        """
        if self._broken:
            return
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except OSError as error:
            self._broken = True
            what = f"stdout takes no more ({error.strerror})."
            raise CannotHereError(what, remedy="Give it another reader or place, then run again.") from error

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        """Show a table to people."""
        table = Table(
            *map(self._plain, columns), title=self._plain(title), title_justify="left", box=None, pad_edge=False
        )
        for row in rows:
            table.add_row(*(escape(self._plain(cell)) for cell in row))
        self.terminal.print(table)

    def say(self, text: str) -> None:
        """Show a line to people as it stands."""
        self.terminal.print(self._plain(text), markup=False)

    def error(self, error: PublishError) -> None:
        """Show an error as one paragraph; in a workflow's log also as an annotation."""
        if self.mode == "json":
            self.emit({"error": str(error), "exit_code": error.exit_code})
        text = self._plain(str(error))
        self._command("error", hidden(str(error)))
        self.terminal.print(f"[red]error:[/] {escape(text)}")
