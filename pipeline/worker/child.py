"""In a worker: how jobs come and answers go, and what stands for an answer that there is not. See ``session``."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
from collections.abc import Callable
from typing import Any

from pipeline.worker.startup import skip_gc_at_exit

Tell = Callable[[int, int], None]
"""Hears how many answers of how many there are."""


class WorkerError(Exception):
    """Why a job has no answer but this.

    Attributes:
        kind: A key of ``session.ERRORS``.
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


def first_line(error: BaseException) -> str:
    """Return what a library says went wrong, as one sentence."""
    lines = str(error).strip().splitlines() or ["no reason given"]
    return f"{lines[0].strip().rstrip('.:')}."


def serve(answer: Callable[[str, Tell], dict[str, Any]]) -> None:
    """Answer jobs, a line of JSON each, until the parent closes our stdin or dies.

    Libraries find nothing on stdin, and what they print to stdout goes to stderr. The parent waits for our end, so that
    comes quickly as well, and asks by a signal where we are if we hang.
    """
    skip_gc_at_exit()
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    jobs, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    for job in jobs:
        say(answer(job, lambda done, total: say({"answered": [done, total]})))
