"""Ask a model in a fresh process, as a consumer would.

The child says ``{"answered": n}`` after every answer and ``{"answers": ...}`` at the end; its log is kept only when it
fails. ``answers.json`` is written last and by the parent, after the child has ended well: a folder without it does not
count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.events import Event, Listener, silent
from pipeline.files import pretty_json, write_atomically
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Answers, Request
from pipeline.validate import probes
from pipeline.worker.session import Child, child

ANSWERS = "answers.json"
LOG = "generation.log"


def generate(
    model: Path,
    request: Request,
    out: Path,
    listener: Listener = silent,
    *,
    repeats: Sequence[tuple[int, int]] = (),
    look: bool = False,
) -> Answers:
    """Ask the model in a folder every question with every seed.

    Args:
        model: The model, as `TASKS[request.task].load` reads it.
        request: What to ask and how.
        out: Folder for the answers' files and, last of all, ``answers.json``; answers already in it are dropped.
        listener: Hears one ``progress`` event an answer.
        repeats: Index of the question and seed of what is asked once more, to know the model's own noise.
        look: Whether to write down what was loaded as well: configs, and what every layer answers.

    Raises:
        GenerationError: The model did not load or run; its text ends with what the library said.
        CannotHereError: A library is missing or the memory did not suffice.
    """
    _clear(out)
    with child("pipeline.validate.consumer", model, out / LOG) as process:
        process.say(_job(model, request, out) | {"repeats": list(repeats), "look": look})
        answers = _listen(process, _progress(model, request, listener))
        if answers is None or not process.ended_well():
            raise process.failure()
    (out / LOG).unlink()
    write_atomically(out / ANSWERS, pretty_json(answers.model_dump(mode="json")))
    return answers


def _clear(out: Path) -> None:
    """Make the folder ready: without the mark of finished answers first, then without their files."""
    out.mkdir(parents=True, exist_ok=True)
    (out / ANSWERS).unlink(missing_ok=True)
    for path in (*out.rglob("[0-9]*-*.*"), out / probes.FILE):
        path.unlink(missing_ok=True)


def _job(model: Path, request: Request, out: Path) -> dict[str, Any]:
    return {"model": str(model.resolve()), "out": str(out.resolve()), "request": request.job()}


def _listen(process: Child, answered: Callable[[int], None]) -> Answers | None:
    """Listen until the child closes its end; no answers means that it failed."""
    answers = None
    for message in process.heard():
        if "answered" in message:
            answered(message["answered"])
        else:
            answers = Answers.model_validate(message["answers"])
    return answers


def _progress(model: Path, request: Request, listener: Listener) -> Callable[[int], None]:
    """Return a function that turns a count of answers into an event."""
    total = len(request.questions) * len(request.seeds)
    unit = f"{TASKS[request.task].medium.noun}s"

    def answered(done: int) -> None:
        listener(Event("progress", "validate", subject=model.name, done=done, total=total, unit=unit))

    return answered
