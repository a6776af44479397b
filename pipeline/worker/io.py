"""In a child process: how it speaks to its parent. See ``session``."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from pipeline.worker.startup import skip_gc_at_exit

Tell = Callable[[dict[str, Any]], None]


def private_stdout() -> Tell:
    """Keep stdout for messages to the parent: what libraries print to it goes to stderr from here on.

    The parent waits for our end, so that comes quickly as well, and asks by a signal where we are if we hang.
    """
    skip_gc_at_exit()
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    mouth = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(message: dict[str, Any]) -> None:
        mouth.write(json.dumps(message) + "\n")
        mouth.flush()

    return tell


def only_job() -> Any:
    """Return the one job that stdin carries."""
    return json.loads(sys.stdin.readline())
