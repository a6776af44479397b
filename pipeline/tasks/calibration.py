"""Calibration: a model asked while it is made, for what its layers are given meanwhile; part of child processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.tasks import TASKS
from pipeline.tasks.answers import Request
from pipeline.tasks.protocol import LoadedModel

BY: Final = "pipeline.tasks.calibration:ask_all"


def ask_all(
    folder: Path,
    job: Mapping[str, Any],
    watch: Callable[[LoadedModel], None] = lambda _: None,
    tell: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Load a model as its users do, and have it answer every question.

    Args:
        folder: The model.
        job: The request, as `Request.job` tells it.
        watch: Gets the model before it is asked.
        tell: Hears how many answers of all there are, after each.
    """
    request = Request(**job)
    task = TASKS[request.task]
    loaded = task.load(folder, request.dtype, task.loader)
    watch(loaded)
    asked = [(question, seed) for question in range(len(request.questions)) for seed in request.seeds]
    for count, (question, seed) in enumerate(asked, start=1):
        task.ask(loaded, request, question, seed)
        tell(count, len(asked))
