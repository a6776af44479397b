"""Ask a pipeline in a fresh process, as a consumer would.

The child's stdin carries one line, the job, and then stays open: when this process dies for whatever reason the child
reads the end of it and leaves. Its stdout carries one JSON object a line: ``{"drawn": n}`` after every picture and
``{"answers": ...}`` at the end. Whatever the libraries print goes to a log that is kept only when they fail.
``answers.json`` is written last and by the parent, after the child has ended well: a folder without it does not count.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pipeline
from pipeline.environment import without_secrets
from pipeline.errors import CannotHereError, PublishError
from pipeline.events import Event, Listener, silent
from pipeline.files import disk_errors, pretty_json, write_atomically
from pipeline.quality import probes
from pipeline.quality.answers import Answers, GenerationError, Request

ANSWERS = "answers.json"
LOG = "generation.log"
ENVIRONMENT_FAILURES = ("ImportError", "ModuleNotFoundError", "MemoryError", "OutOfMemoryError", "PackageNotFoundError")


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
    with disk_errors(out), (out / LOG).open("wb") as log, _consumer(log) as child:
        job = _job(model, request, out) | {"repeats": list(repeats), "look": look}
        answers = _converse(child, job, _progress(model, request, listener))
    if child.returncode != 0 or answers is None:
        raise _failure(child.returncode, model, out / LOG)
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


@contextmanager
def _consumer(log: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """Start the child and see it gone, however this block ends.

    It gets a session of its own, so that Ctrl-C reaches this process alone and the child dies by our hand.
    """
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "pipeline.quality.consumer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=_offline_environment(),
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        yield child
        child.wait()
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                _close(pipe)


def _close(pipe: IO[str]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        return  # the child left without reading the job; its exit code and log say why


def _offline_environment() -> dict[str, str]:
    """Return our environment with the network off, secrets out, and this very package importable."""
    kept = without_secrets()
    ours = str(Path(pipeline.__file__).resolve().parents[1])
    path = os.pathsep.join(part for part in (ours, kept.get("PYTHONPATH", "")) if part)
    return kept | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUTF8": "1"}


def _converse(child: subprocess.Popen[str], job: dict[str, Any], drawn: Any) -> Answers | None:
    """Hand the job over and listen until the child closes its end; no answers means that it failed."""
    answers = None
    if child.stdin is None or child.stdout is None:
        return None
    try:
        child.stdin.write(json.dumps(job) + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        return None  # it died before it read the job; its exit code and log say why
    for line in child.stdout:
        message = json.loads(line)
        if "drawn" in message:
            drawn(message["drawn"])
        else:
            answers = Answers.model_validate(message["answers"])
    return answers


def _progress(model: Path, request: Request, listener: Listener) -> Any:
    """Return a function that turns a count of pictures into an event."""
    total = len(request.prompts) * len(request.seeds)

    def drawn(done: int) -> None:
        listener(Event("progress", "validate", subject=model.name, done=done, total=total, unit="pictures"))

    return drawn


def _failure(code: int, model: Path, log: Path) -> PublishError:
    """Return the error for a child that ended badly."""
    text = log.read_text(encoding="utf-8", errors="replace")
    cause = last_words(text)
    if code < 0:
        cause = f"killed by {signal.Signals(-code).name}" + (f" after {cause}" if cause else "")
    known = re.split(r"[:\s]", cause, maxsplit=1)[0].rpartition(".")[2]
    remedy = f"The libraries' whole output is in {log}."
    if known in ENVIRONMENT_FAILURES or code == -signal.SIGKILL:
        return CannotHereError(f"The pipeline cannot be run on this machine: {cause}", where=str(model), remedy=remedy)
    what = f"The pipeline did not answer when it was loaded as its users load it: {cause or f'exit code {code}'}"
    return GenerationError(what, where=str(model), remedy=remedy)


def last_words(log: str) -> str:
    """Return the exception line of the last traceback in a log, else the last line that says anything."""
    lines = [line.rstrip() for line in log.splitlines()]
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    after = lines[starts[-1] + 1 :] if starts else []
    raised = next((line for line in after if line and not line.startswith(" ")), "")
    spoken = [line.strip() for line in lines if line.strip()]
    return raised or (spoken[-1] if spoken else "")
