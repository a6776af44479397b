"""A process of its own that has a folder, the libraries and nothing of ours: how it is started, spoken to, and ended.

Its stdin carries JSON, one object a line, and stays open: when this process dies for whatever reason the child reads
the end of it and leaves. Its stdout carries one JSON object a line. Whatever the libraries print goes to a log. What
the child does for its part is in ``parent``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipeline
from pipeline.environment import without_secrets
from pipeline.errors import CannotHereError, PublishError
from pipeline.files import disk_errors
from pipeline.quality.answers import GenerationError

ENVIRONMENT_FAILURES = ("ImportError", "ModuleNotFoundError", "MemoryError", "OutOfMemoryError", "PackageNotFoundError")


@dataclass(frozen=True)
class Child:
    """A running process.

    Attributes:
        process: The process.
        model: The folder that it has.
        log: Where its libraries write.
    """

    process: subprocess.Popen[str]
    model: Path
    log: Path

    def say(self, message: Mapping[str, Any]) -> None:
        """Tell it something. One that died before it read is heard of no more, and its log says why."""
        with suppress(BrokenPipeError):
            if self.process.stdin is not None:
                self.process.stdin.write(json.dumps(message) + "\n")
                self.process.stdin.flush()

    def heard(self) -> Iterator[dict[str, Any]]:
        """Return what it says, until it closes its end."""
        for line in self.process.stdout or ():
            yield json.loads(line)

    def ended_well(self) -> bool:
        """Wait for its end, and return whether it was a good one."""
        return self.process.wait() == 0

    def failure(self) -> PublishError:
        """Return the error for a child that ended badly, with what its libraries said last."""
        code = self.process.wait()
        cause = last_words(self.log.read_text(encoding="utf-8", errors="replace"))
        if code < 0:
            cause = f"killed by {signal.Signals(-code).name}" + (f" after {cause}" if cause else "")
        known = re.split(r"[:\s]", cause, maxsplit=1)[0].rpartition(".")[2]
        where, remedy = str(self.model), f"The libraries' whole output is in {self.log}."
        if known in ENVIRONMENT_FAILURES or code == -signal.SIGKILL:
            return CannotHereError(f"The pipeline cannot be run on this machine: {cause}", where=where, remedy=remedy)
        what = f"The pipeline did not answer when it was loaded as its users load it: {cause or f'exit code {code}'}"
        return GenerationError(what, where=where, remedy=remedy)


@contextmanager
def child(module: str, model: Path, log: Path, **environment: str) -> Iterator[Child]:
    """Start a module of ours in a process of its own and see it gone, however this block ends.

    It gets a session of its own, so that Ctrl-C reaches this process alone and the child dies by our hand.

    Args:
        module: What it runs.
        model: The folder that it has.
        log: Where its libraries write.
        environment: Further variables.
    """
    with disk_errors(log.parent), log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            env=_offline_environment() | environment,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
    try:
        yield Child(process, model, log)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # it left without reading; its exit code and log say why
                    pipe.close()


def _offline_environment() -> dict[str, str]:
    """Return our environment with the network off, secrets out, and this very package importable."""
    kept = without_secrets()
    ours = str(Path(pipeline.__file__).resolve().parents[1])
    path = os.pathsep.join(part for part in (ours, kept.get("PYTHONPATH", "")) if part)
    return kept | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUTF8": "1"}


def last_words(log: str) -> str:
    """Return the exception line of the last traceback in a log, else the last line that says anything."""
    lines = [line.rstrip() for line in log.splitlines()]
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    after = lines[starts[-1] + 1 :] if starts else []
    raised = next((line for line in after if line and not line.startswith(" ")), "")
    spoken = [line.strip() for line in lines if line.strip()]
    return raised or (spoken[-1] if spoken else "")
