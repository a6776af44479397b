"""The process that tries: load a model as its users do, do with it what they do next, tell the parent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.tasks import TASKS, Task
from pipeline.tasks.answers import Request
from pipeline.tasks.protocol import Given, LoadedModel
from pipeline.validate.compatibility.asking import Tried
from pipeline.validate.consumer import device_of
from pipeline.worker.child import Tell, serve

LONGEST = 400  # characters of what a library raised


@dataclass
class Trial:
    """A loaded model and the questions that it is asked.

    Attributes:
        job: What is tried.
        task: What it is for.
        loaded: The model.
        request: The questions.
        out: Where answers go.
        tell: Hears how many answers there are.
        total: How many answers there are in all.
        done: How many there were.
    """

    job: dict[str, Any]
    task: Task
    loaded: LoadedModel
    request: Request
    out: Path
    tell: Tell
    total: int = 0
    done: int = 0

    def ask(self, question: int) -> Given:
        """Ask one question."""
        found = self.task.ask(self.loaded, self.request, question, self.request.seeds[0])
        self.done += 1
        self.tell(self.done, self.total)
        return found

    def said(self, **found: Any) -> Tried:
        """Return what is told at the end."""
        return Tried(device=device_of(self.loaded), how=self.loaded.how, **found)


def say(text: str, tell: Tell) -> dict[str, Any]:
    """Do a job, and return what came of it."""
    from pipeline.validate.compatibility.compiling import compile_and_ask
    from pipeline.validate.compatibility.confining import confine_and_ask
    from pipeline.validate.compatibility.loading_lora import load_and_ask

    kinds: dict[str, Callable[[Trial], Tried]] = {"lora": load_and_ask, "compile": compile_and_ask}
    job = json.loads(text)
    request = Request.model_validate(job["request"])
    task = TASKS[request.task]
    if job["use"] == "device":  # which is in the way of loading already
        return confine_and_ask(job, task, request, tell).model_dump(mode="json")
    loaded = task.load(Path(job["model"]), request.dtype, task.loader)
    return kinds[job["use"]](Trial(job, task, loaded, request, Path(job["out"]), tell)).model_dump(mode="json")


def words_of(error: BaseException) -> str:
    """Return the class of what a library raised and the first lines of what it said, in one line."""
    text = " ".join(str(error).split())
    said = f": {text[:LONGEST]}{'...' if len(text) > LONGEST else ''}" if text else ""
    return f"{type(error).__name__}{said}"


if __name__ == "__main__":
    serve(say)
