"""Calibration: a model asked while it is made, for what its layers are given meanwhile; part of child processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.tasks import TASKS
from pipeline.tasks.answers import Request

BY: Final = "pipeline.tasks.calibration:ask_all"


def ask_all(folder: Path, job: Mapping[str, Any]) -> None:
    """Load a model as its users do, and have it answer every question.

    Args:
        folder: The model.
        job: The request, as `Request.job` tells it.
    """
    request = Request(**job)
    task = TASKS[request.task]
    loaded = task.load(folder, request.dtype, task.loader)
    for question in range(len(request.questions)):
        for seed in request.seeds:
            task.ask(loaded, request, question, seed)
