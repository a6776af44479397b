"""The log of a run, a file under the home: what was asked, what happened, what libraries said of it; without secrets.

It is for the report of a fault. Libraries warn of kernels and deprecations of their own, which nobody at a terminal can
act on; there they are shown on request only.
"""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pipeline.cli.console import LOG, hidden

KEPT: Final = 20  # files; the oldest go


class Redacted(logging.Formatter):
    """Writes records without tokens and passwords, whoever logged them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line and its traceback."""
        return hidden(super().format(record))


def listen_to_libraries(*, shown: bool) -> None:
    """Collect what libraries log and warn of, in this process.

    Args:
        shown: Whether stderr shows it as well.
    """
    logging.raiseExceptions = False  # a disk that is full is told by what needs it
    logging.captureWarnings(capture=True)
    warnings.simplefilter("default")
    logging.getLogger(LOG).setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stderr) if shown else logging.NullHandler()
    handler.setFormatter(Redacted("%(name)s: %(message)s"))
    handler.addFilter(lambda record: record.name != LOG)  # the console shows ours
    logging.getLogger().addHandler(handler)


def write_log(home: Path) -> Path | None:
    """Begin this run's log under a home, and remove the oldest ones; None where nothing can be written."""
    path = home / "logs" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # what others log of this user is nobody else's
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError:
        return None
    handler.setFormatter(Redacted("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    for old in sorted(path.parent.glob("*.log"))[:-KEPT]:
        old.unlink(missing_ok=True)
    made_by = f"quantpress {version('quantpress')}, Python {platform.python_version()}, {platform.platform()}"
    logging.getLogger(LOG).info("%s: %s", made_by, shlex.join(sys.argv))
    return path
