"""A process of its own that is asked once: questions on its stdin, JSON as the last lines of its stdout, no more.

It runs libraries, so it has none of our secrets, reaches no Hub, sees no device, colours nothing and ends in time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from pipeline.errors import CannotHereError, PublishError, QuantizationError, RecipeError, SourceError
from pipeline.worker.process import run

# bitsandbytes would import torch's compiler only to prepare functions that are never called.
QUIETLY: Final = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TORCHDYNAMO_DISABLE": "1",
    "PYTHONUTF8": "1",
}
SECONDS: Final = 3600.0  # that questions about the largest models never come near on a slow disk
ERRORS: Final[dict[str, type[PublishError]]] = {
    "recipe": RecipeError,
    "keep": RecipeError,
    "lora": RecipeError,
    "source": SourceError,
    "environment": CannotHereError,
    "library": QuantizationError,
}


class WorkerError(Exception):
    """In the process: why a question has none but this.

    Attributes:
        kind: A key of ``ERRORS``.
        what: What is wrong.
        remedy: What to do next.
        where: The place, if it is another than the one that was asked about.
    """

    def __init__(self, kind: str, what: str, remedy: str = "", where: str = "") -> None:
        super().__init__(what)
        self.kind, self.what, self.remedy, self.where = kind, what, remedy, where

    @property
    def said(self) -> dict[str, str]:
        """The refusal as an answer."""
        return {"error": self.kind, "what": self.what, "remedy": self.remedy, "where": self.where}


def first_line(error: Exception) -> str:
    """Return what a library says went wrong, as one sentence."""
    lines = str(error).strip().splitlines() or ["no reason given"]
    return f"{lines[0].strip().rstrip('.:')}."


def error_of(said: Mapping[str, str], where: str) -> PublishError:
    """Return the error that a refusal is to whoever asked about this place."""
    return ERRORS[said["error"]](said["what"], where=said["where"] or where, remedy=said["remedy"])


class WorkerDiedError(Exception):
    """The process ended without its answers; the text is the last line that it said, or how it ended.

    Attributes:
        killed: Whether a signal ended it.
    """

    def __init__(self, reason: str, *, killed: bool) -> None:
        super().__init__(reason)
        self.killed = killed


def ask(
    module: str,
    questions: str,
    count: int = 1,
    environment: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> list[dict[str, Any]]:
    """Run a module that ends with `answer`, and return what it says.

    Args:
        module: What is run.
        questions: Its stdin.
        count: How many answers are due.
        environment: Further variables.
        seconds: How long it may take.

    Raises:
        WorkerDiedError: It ended without them, or was ended.
    """
    command = [sys.executable, "-P", "-m", module]
    try:
        child = run(command, seconds, {**QUIETLY, **(environment or {})}, questions)
    except subprocess.TimeoutExpired as error:
        raise WorkerDiedError(f"it hung, and was ended after {seconds:.0f} s", killed=False) from error
    try:
        said = [json.loads(line) for line in child.stdout.splitlines()[-count:]]
    except json.JSONDecodeError:
        said = []
    if child.returncode or len(said) != count:
        reason = child.stderr.strip().splitlines()[-1:] or [f"it ended with status {child.returncode}"]
        raise WorkerDiedError(reason[0], killed=child.returncode < 0)
    return said


def answer(said: Sequence[Mapping[str, Any]]) -> NoReturn:
    """In the process: write what it was asked for as the last lines of stdout, one each, and end at once.

    No handler runs: what a library says or breaks at its end would come behind the answers.
    """
    sys.stdout.write("".join(f"\n{json.dumps(one)}" for one in said) + "\n")
    sys.stdout.flush()
    os._exit(0)
