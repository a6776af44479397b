"""Answers within a small device's limits, in the process that tries."""

from __future__ import annotations

import os
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.tasks import Task
from pipeline.tasks.answers import Request
from pipeline.validate.compatibility.asking import Tried
from pipeline.validate.compatibility.compiling import not_numbers, timed
from pipeline.validate.compatibility.consumer import Trial, words_of
from pipeline.worker.child import Tell
from pipeline.worker.hardware import hardware
from pipeline.worker.limits import confine, peak_memory


def confine_and_ask(job: dict[str, Any], task: Task, request: Request, tell: Tell) -> Tried:
    """Confine this process, then load the model and ask it every question.

    What is raised meanwhile, by Python or a library, is what is told: many say in words of their own that there is no
    memory. What ends the process is told by its parent.
    """
    if sys.platform != "linux":
        return Tried(device="cpu", how="", missing="only Linux keeps a process to so much memory")
    confine(job["memory"], job["threads"])
    try:
        for name in task.imports:
            import_module(name)  # no part of the time that loading takes
        began = time.perf_counter()
        loaded = task.load(Path(job["model"]), request.dtype, task.loader)
        trial, load_seconds = Trial(job, task, loaded, request, Path(job["out"]), tell), time.perf_counter() - began
        trial.total = len(request.questions)
        answers, seconds = timed(trial, range(trial.total))
    except Exception as error:
        traceback.print_exc()
        return Tried(device="cpu", how="", failure=words_of(error))
    numbers = {
        "load_seconds": load_seconds,
        "answer_seconds": median(seconds),
        "answers": len(seconds),
        "peak_memory": peak_memory(),
        "threads": len(os.sched_getaffinity(0)),
        "not_numbers": sum(not_numbers(given) for given in answers),
    }
    return trial.said(numbers=numbers, processor=hardware()["cpu"])
