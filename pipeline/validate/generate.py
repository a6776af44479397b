"""Ask a pipeline in a fresh process, as a consumer would.

The child says ``{"drawn": n}`` after every picture and ``{"answers": ...}`` at the end; its log is kept only when it
fails. ``answers.json`` is written last and by the parent, after the child has ended well: a folder without it does not
count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.events import Event, Listener, silent
from pipeline.files import pretty_json, write_atomically
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
    """Draw every prompt with every seed with the pipeline in a folder.

    Args:
        model: A whole pipeline, with ``model_index.json``.
        request: What to draw and how.
        out: Folder for the PNG files and, last of all, ``answers.json``; answers already in it are dropped.
        listener: Hears one ``progress`` event a picture.
        repeats: Index of the prompt and seed of what is drawn once more, to know the pipeline's own noise.
        look: Whether to write down what was loaded as well: configs, and what every layer answers.

    Raises:
        GenerationError: The pipeline did not load or run; its text ends with what the library said.
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
    for path in (*out.rglob("[0-9]*-*.png"), *out.rglob("[0-9]*-*.npy"), out / probes.FILE):
        path.unlink(missing_ok=True)


def _job(model: Path, request: Request, out: Path) -> dict[str, Any]:
    return {"model": str(model.resolve()), "out": str(out.resolve()), "request": request.model_dump(mode="json")}


def _listen(process: Child, drawn: Callable[[int], None]) -> Answers | None:
    """Listen until the child closes its end; no answers means that it failed."""
    answers = None
    for message in process.heard():
        if "drawn" in message:
            drawn(message["drawn"])
        else:
            answers = Answers.model_validate(message["answers"])
    return answers


def _progress(model: Path, request: Request, listener: Listener) -> Callable[[int], None]:
    """Return a function that turns a count of pictures into an event."""
    total = len(request.prompts) * len(request.seeds)

    def drawn(done: int) -> None:
        listener(Event("progress", "validate", subject=model.name, done=done, total=total, unit="pictures"))

    return drawn
