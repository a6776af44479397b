"""Ask a model in a fresh process, as a consumer would.

The log of its libraries is kept only when it fails. ``answers.json`` is written last and by the parent, after the
process has ended well: a folder without it does not count.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pipeline.errors import CannotHereError, GenerationError, PublishError
from pipeline.events import Event, Listener, silent
from pipeline.files import pretty_json, write_atomically
from pipeline.tasks import TASKS
from pipeline.tasks.answers import Answers, Request
from pipeline.validate import probes
from pipeline.worker.session import SILENCE, Worker, WorkerDiedError, error_of, opened

ANSWERS = "answers.json"
LOG = "generation.log"
LACKING: Final = ("ImportError", "ModuleNotFoundError", "MemoryError", "OutOfMemoryError", "PackageNotFoundError")


def generate(  # noqa: PLR0913 - what is asked, how, and who hears of it
    model: Path,
    request: Request,
    out: Path,
    listener: Listener = silent,
    *,
    repeats: Sequence[tuple[int, int]] = (),
    look: bool = False,
    silence: float = SILENCE,
) -> Answers:
    """Ask the model in a folder every question with every seed.

    Args:
        model: The model, as `TASKS[request.task].load` reads it.
        request: What to ask and how.
        out: Folder for the answers' files and, last of all, ``answers.json``; answers already in it are dropped.
        listener: Hears one ``progress`` event an answer.
        repeats: Index of the question and seed of what is asked once more, to know the model's own noise.
        look: Whether to write down what was loaded as well: configs, and what every layer answers.
        silence: Seconds that loading may take, or an answer.

    Raises:
        GenerationError: The model did not load or run; its text ends with what the library said.
        CannotHereError: A library is missing or the memory did not suffice.
        RecipeError: The model's call does not take what it is called with.
    """
    _clear(out)
    more = {"repeats": list(repeats), "look": look}
    tell = progress(listener, "validate", model.name, request)
    said = ask_consumer("pipeline.validate.consumer", model, request, out, more, tell, silence=silence)
    answers = Answers.model_validate(said)
    (out / LOG).unlink()
    write_atomically(out / ANSWERS, pretty_json(answers.model_dump(mode="json")))
    return answers


def _clear(out: Path) -> None:
    """Make the folder ready: without the mark of finished answers first, then without their files."""
    out.mkdir(parents=True, exist_ok=True)
    (out / ANSWERS).unlink(missing_ok=True)
    for path in (*out.rglob("[0-9]*-*.*"), out / probes.FILE):
        path.unlink(missing_ok=True)


def ask_consumer(  # noqa: PLR0913 - as above, and what else the module is told
    module: str,
    model: Path,
    request: Request,
    out: Path,
    more: Mapping[str, Any],
    tell: Callable[[int, int], None],
    *,
    silence: float = SILENCE,
) -> dict[str, Any]:
    """Have a module do one job with a model, and return its answer once it has ended well.

    Raises:
        PublishError: As `consumer`, or the model cannot be asked this.
    """
    job = {"model": str(model.resolve()), "out": str(out.resolve()), "request": request.job(), **more}
    with consumer(module, model, out / LOG, silence) as worker:
        said = worker.ask(json.dumps(job), tell)
        worker.finish()
    if "error" in said:
        raise error_of(said, str(model))
    return said


@contextmanager
def consumer(module: str, model: Path, log: Path, silence: float = SILENCE) -> Iterator[Worker]:
    """Start a module as a worker that has the folder of a model.

    Raises:
        GenerationError: The model did not load or run; its text ends with what the library said.
        CannotHereError: A library is missing, the memory did not suffice, or it hung.
    """
    try:
        with opened(module, log, silence=silence) as worker:
            yield worker
    except WorkerDiedError as error:
        raise failure_of(error, str(model), f"The libraries' whole output is in {log}.") from error


def failure_of(error: WorkerDiedError, where: str, remedy: str) -> PublishError:
    """Return the error for a consumer that ended badly, with what its libraries said last."""
    if error.hung:
        what = f"The pipeline hung: {error.hung}."
        return CannotHereError(what, where=where, remedy=f"Run the same command again: it continues. {remedy}")
    cause, code = error.words, error.code
    if code < 0:
        cause = f"killed by {signal.Signals(-code).name}" + (f" after {cause}" if cause else "")
    known = re.split(r"[:\s]", cause, maxsplit=1)[0].rpartition(".")[2]
    if known in LACKING or code == -signal.SIGKILL:
        return CannotHereError(f"The pipeline cannot be run on this machine: {cause}", where=where, remedy=remedy)
    what = f"The pipeline did not answer when it was loaded as its users load it: {cause or f'exit code {code}'}"
    return GenerationError(what, where=where, remedy=remedy)


def progress(listen: Listener, stage: str, subject: str, request: Request) -> Callable[[int, int], None]:
    """Return what turns counts of answers into events."""
    unit = f"{TASKS[request.task].medium.noun}s"
    return lambda done, total: listen(Event("progress", stage, subject, done=done, total=total, unit=unit))
