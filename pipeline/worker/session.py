"""A session with a worker: a process of its own that has the libraries and nothing of ours, and answers jobs.

Its stdin carries jobs, one line of JSON each, and stays open: when this process dies for whatever reason the worker
reads the end of it and leaves. Its stdout carries one JSON object a line: ``{"answered": [done, total]}`` as often as
there is progress, and then the answer. Whatever the libraries print goes to a log. What the worker does for its part is
in ``child``.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pipeline.errors import CannotHereError, PublishError, QuantizationError, RecipeError, SourceError
from pipeline.files import disk_errors
from pipeline.worker.process import kill, started, temporary_folder

OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUTF8": "1"}
# bitsandbytes would import torch's compiler only to prepare functions that are never called.
NO_DEVICE: Final = {"CUDA_VISIBLE_DEVICES": "", "TORCHDYNAMO_DISABLE": "1"}
SILENCE: Final = 6 * 3600.0  # seconds; one answer of the largest models takes hours on a processor
SECONDS: Final = 3600.0  # that questions about the largest models never come near on a slow disk
LAST_WISH: Final = 1.0  # seconds that a process that hangs has to write down where
WHERE: Final = re.compile(r'most recent call first\):\n  File "(.*)", line (\d+) in (.*)')  # as faulthandler writes it
ERRORS: Final[dict[str, type[PublishError]]] = {
    "recipe": RecipeError,
    "keep": RecipeError,
    "lora": RecipeError,
    "source": SourceError,
    "environment": CannotHereError,
    "library": QuantizationError,
}
Done = TypeVar("Done")


def error_of(said: Mapping[str, str], where: str) -> PublishError:
    """Return the error that a worker's refusal is to whoever asked about this place."""
    return ERRORS[said["error"]](said["what"], where=said["where"] or where, remedy=said["remedy"])


class WorkerDiedError(Exception):
    """A worker ended without its answer, or badly after it.

    Attributes:
        code: How it ended, as ``Popen`` tells it.
        words: What its libraries said last; empty where they said nothing.
        hung: For how long nothing came of it and where it was, if it was ended for that.
    """

    def __init__(self, reason: str, code: int, words: str, hung: str = "") -> None:
        super().__init__(reason)
        self.code, self.words, self.hung = code, words, hung


@dataclass
class Worker:
    """A running worker.

    Attributes:
        process: The process.
        log: Where its libraries write.
        silence: Seconds that it may take to say something, or to end.
        hung: Whether it took longer, and was ended.
    """

    process: subprocess.Popen[str]
    log: Path
    silence: float
    hung: bool = False

    def ask(self, job: str, answered: Callable[[int, int], None] = lambda *_: None) -> dict[str, Any]:
        """Return the answer to a job.

        Args:
            job: It, as one line of JSON.
            answered: Hears how much of it is done.

        Raises:
            WorkerDiedError: There is none.
        """
        with suppress(BrokenPipeError):  # one that died before it read says why in its log
            self._in_time(lambda: print(job, file=self.process.stdin, flush=True))
        while self.process.stdout is not None and (line := self._in_time(self.process.stdout.readline)):
            try:
                said = json.loads(line)
            except json.JSONDecodeError:  # printed before the worker had its stdout to itself, or half an answer
                continue
            if "answered" not in said:
                return dict(said)
            answered(*said["answered"])
        raise self._died()

    def finish(self) -> None:
        """Let it go, and see it end well.

        Raises:
            WorkerDiedError: It did not.
        """
        if self.process.stdin is not None:
            self.process.stdin.close()
        self._in_time(self.process.wait)
        if self.process.returncode:
            raise self._died()

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

    def _died(self) -> WorkerDiedError:
        code = self._in_time(self.process.wait)
        log = self.log.read_text(encoding="utf-8", errors="replace")
        words = last_words(log)
        if not self.hung:
            return WorkerDiedError(words or f"it ended with status {code}", code, words)
        at = WHERE.search(log)
        doing = f"in {at[3]} ({at[1]}:{at[2]})" if at else f"after {words or 'nothing was said'}"
        hung = f"nothing came of it for {self.silence:.0f} s, and it was ended {doing}"
        return WorkerDiedError(f"it hung, and was ended after {self.silence:.0f} s", code, words, hung)


@contextmanager
def opened(
    module: str, log: Path, environment: Mapping[str, str] | None = None, silence: float = SILENCE
) -> Iterator[Worker]:
    """Start a module that serves jobs as a worker and see it gone, however this block ends.

    Args:
        module: What it runs.
        log: Where its libraries write.
        environment: Further variables.
        silence: Seconds that it may take to say something, or to end.
    """
    with disk_errors(log.parent):
        written = log.open("wb")
    command, pipe = [sys.executable, "-P", "-m", module], subprocess.PIPE
    told = {**OFFLINE, **(environment or {})}
    with written, started(command, told, stdin=pipe, stdout=pipe, stderr=written) as process:
        yield Worker(process, log, silence)


def ask_worker(
    module: str, jobs: Sequence[str], environment: Mapping[str, str] | None = None, seconds: float = SECONDS
) -> list[dict[str, Any]]:
    """Return a worker's answers to some jobs; it sees no device unless the environment has one.

    Args:
        module: What it runs.
        jobs: Each as one line of JSON.
        environment: Further variables.
        seconds: How long one may take.

    Raises:
        WorkerDiedError: It ended without them all, or was ended.
    """
    told = {**NO_DEVICE, **(environment or {})}
    with temporary_folder("publish-log-") as folder, opened(module, folder / "log", told, seconds) as worker:
        return [worker.ask(job) for job in jobs]


def last_words(log: str) -> str:
    """Return the exception line of the last traceback in a log, else the last line that says anything."""
    lines = [line.rstrip() for line in log.splitlines()]
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    after = lines[starts[-1] + 1 :] if starts else []
    raised = next((line for line in after if line and not line.startswith(" ")), "")
    spoken = [line.strip() for line in lines if line.strip()]
    return raised or (spoken[-1] if spoken else "")
