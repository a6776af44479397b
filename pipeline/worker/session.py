"""A process of its own that has a folder, the libraries and nothing of ours: how it is started, spoken to, and ended.

Its stdin carries JSON, one object a line, and stays open: when this process dies for whatever reason the child reads
the end of it and leaves. Its stdout carries one JSON object a line. Whatever the libraries print goes to a log. What
the child does for its part is in ``io``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pipeline
from pipeline.errors import CannotHereError, GenerationError, PublishError
from pipeline.files import disk_errors
from pipeline.worker.process import allowed, kill, started

ENVIRONMENT_FAILURES = ("ImportError", "ModuleNotFoundError", "MemoryError", "OutOfMemoryError", "PackageNotFoundError")
SILENCE: Final = 6 * 3600.0  # seconds; one answer of the largest models takes hours on a processor
LAST_WISH: Final = 1.0  # seconds that a process that hangs has to write down where
WHERE = re.compile(r'most recent call first\):\n  File "(.*)", line (\d+) in (.*)')  # as faulthandler writes it
Done = TypeVar("Done")


@dataclass
class Child:
    """A running process.

    Attributes:
        process: The process.
        model: The folder that it has.
        log: Where its libraries write.
        silence: Seconds that it may take to say something, or to end.
        hung: Whether it took longer, and was ended.
    """

    process: subprocess.Popen[str]
    model: Path
    log: Path
    silence: float = SILENCE
    hung: bool = False

    def say(self, message: Mapping[str, Any]) -> None:
        """Tell it something. One that died before it read is heard of no more, and its log says why."""
        with suppress(BrokenPipeError):
            self._in_time(lambda: self._write(json.dumps(message) + "\n"))

    def _write(self, line: str) -> None:
        if self.process.stdin is not None:
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def heard(self) -> Iterator[dict[str, Any]]:
        """Return what it says, until it closes its end."""
        while self.process.stdout is not None and (line := self._in_time(self.process.stdout.readline)):
            yield json.loads(line)

    def ended_well(self) -> bool:
        """Wait for its end, and return whether it was a good one."""
        return self._in_time(self.process.wait) == 0

    def _in_time(self, wait: Callable[[], Done]) -> Done:
        """Wait for the process, which is ended where that takes too long."""
        timer = threading.Timer(self.silence, self._give_up)
        timer.daemon = True  # Ctrl-C may come before it can be cancelled, and nobody waits for it then
        try:
            timer.start()
            return wait()
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self.hung = True
        self.process.send_signal(signal.SIGUSR1)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(LAST_WISH)
        kill(self.process)

    def failure(self) -> PublishError:
        """Return the error for a child that ended badly, with what its libraries said last."""
        code = self.process.wait()
        log = self.log.read_text(encoding="utf-8", errors="replace")
        if self.hung:
            return self._hanging(log)
        cause = last_words(log)
        if code < 0:
            cause = f"killed by {signal.Signals(-code).name}" + (f" after {cause}" if cause else "")
        known = re.split(r"[:\s]", cause, maxsplit=1)[0].rpartition(".")[2]
        where, remedy = str(self.model), f"The libraries' whole output is in {self.log}."
        if known in ENVIRONMENT_FAILURES or code == -signal.SIGKILL:
            return CannotHereError(f"The pipeline cannot be run on this machine: {cause}", where=where, remedy=remedy)
        what = f"The pipeline did not answer when it was loaded as its users load it: {cause or f'exit code {code}'}"
        return GenerationError(what, where=where, remedy=remedy)

    def _hanging(self, log: str) -> CannotHereError:
        """Return the error for a child that was ended because it hung, with where it was."""
        at = WHERE.search(log)
        doing = f"in {at[3]} ({at[1]}:{at[2]})" if at else f"after {last_words(log) or 'nothing was said'}"
        what = f"The pipeline hung: nothing came of it for {self.silence:.0f} s, and it was ended {doing}."
        remedy = f"Run the same command again: it continues. The libraries' whole output is in {self.log}."
        return CannotHereError(what, where=str(self.model), remedy=remedy)


@contextmanager
def child(module: str, model: Path, log: Path, silence: float = SILENCE, **environment: str) -> Iterator[Child]:
    """Start a module of ours in a process of its own and see it gone, however this block ends.

    Args:
        module: What it runs.
        model: The folder that it has.
        log: Where its libraries write.
        silence: Seconds that it may take to say something, or to end.
        environment: Further variables.
    """
    with disk_errors(log.parent):
        written = log.open("wb")
    command, pipe = [sys.executable, "-P", "-m", module], subprocess.PIPE
    told = _offline_environment() | environment
    with written, started(command, told, stdin=pipe, stdout=pipe, stderr=written) as process:
        yield Child(process, model, log, silence)


def _offline_environment() -> dict[str, str]:
    """Return what turns the network off and makes this very package importable."""
    ours = str(Path(pipeline.__file__).resolve().parents[1])
    path = os.pathsep.join(part for part in (ours, allowed().get("PYTHONPATH", "")) if part)
    return {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUTF8": "1"}


def last_words(log: str) -> str:
    """Return the exception line of the last traceback in a log, else the last line that says anything."""
    lines = [line.rstrip() for line in log.splitlines()]
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    after = lines[starts[-1] + 1 :] if starts else []
    raised = next((line for line in after if line and not line.startswith(" ")), "")
    spoken = [line.strip() for line in lines if line.strip()]
    return raised or (spoken[-1] if spoken else "")
