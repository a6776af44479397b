"""Asks the process that tries: what travels to it and back, and which few of the questions it is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from pipeline.errors import RecipeError
from pipeline.events import Event, Listener
from pipeline.files import disk_errors, empty, pretty_json, write_atomically
from pipeline.quality.answers import Request
from pipeline.quality.generate import LOG, _failure, _offline_environment

QUESTIONS: Final = 4  # prompts, each with the first seed: with and without, on both sides, a few are a large part
TRIED: Final = "tried.json"


class Value(BaseModel):
    """Frozen and closed, without NaN or Infinity, which JSON cannot hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Lora(Value):
    """A LoRA to load.

    Attributes:
        name: How it is named to people.
        file: Its file.
        scale: How strongly it is applied.
        reference: The folder with the source's answers from `ask_with_lora`, where they are known.
    """

    name: str
    file: Path
    scale: float = 1.0
    reference: Path | None = None


class Compilation(Value):
    """A component to compile, and how ``torch.compile`` is called."""

    component: str
    fullgraph: bool = False
    mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = "default"


class Uses(Value):
    """What is tried."""

    loras: tuple[Lora, ...] = ()
    compilations: tuple[Compilation, ...] = ()


class Tried(Value):
    """What the process says at the end.

    Attributes:
        device: Where it ran.
        how: How the pipeline was loaded.
        failure: What a library raised when it was to do the thing, and where that was; empty where it did it.
        missing: What this machine lacks for it, if that is why.
        numbers: What was counted and measured.
        breaks: Why the graph broke, each reason in a few words.
    """

    device: str
    how: str
    failure: str = ""
    missing: str = ""
    numbers: dict[str, float] = {}
    breaks: tuple[str, ...] = ()


def ask_with_lora(model: Path, lora: Lora, request: Request, out: Path, listener: Listener) -> Path:
    """Have a pipeline draw a few questions without a LoRA and with it.

    Args:
        model: The pipeline.
        lora: The LoRA.
        request: The validation's questions.
        out: A folder; what it holds is dropped.
        listener: Hears of every picture.

    Returns:
        The folder: ``plain.npz``, ``adapted.npz`` and ``again.npz`` with float32 arrays, and what was said beside them.

    Raises:
        CannotHereError: A library is missing or the memory did not suffice.
        GenerationError: The pipeline does not load, or does not draw without the LoRA.
    """
    job = {"use": "lora", "file": str(lora.file.resolve()), "scale": lora.scale}
    ask(model, job, request, out, listener)
    return out


def try_compiling(model: Path, wanted: Compilation, request: Request, out: Path, listener: Listener) -> Tried:
    """Have a pipeline draw a few questions before a component is compiled, and after.

    Raises:
        CannotHereError: A library is missing or the memory did not suffice.
        GenerationError: The pipeline does not load, or does not draw before it is compiled.
    """
    return ask(model, {"use": "compile", **wanted.model_dump(mode="json")}, request, out, listener)


def tried(folder: Path) -> Tried:
    """Return what was said at the end of a trial."""
    return Tried.model_validate_json((folder / TRIED).read_bytes())


def few(request: Request) -> Request:
    """Return the first questions, one for each of a few prompts."""
    return request.model_copy(update={"prompts": request.prompts[:QUESTIONS], "seeds": request.seeds[:1]})


def ask(model: Path, job: dict[str, Any], request: Request, out: Path, listener: Listener) -> Tried:
    """Run the process that tries, and keep what it says in ``out``."""
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        empty(out)
        job |= {
            "model": str(model.resolve()),
            "out": str(out.resolve()),
            "request": few(request).model_dump(mode="json"),
        }
        with (out / LOG).open("wb") as log, process(log) as child:
            said = converse(child, job, listener)
        if child.returncode != 0 or said is None:
            raise _failure(child.returncode, model, out / LOG)
        if not said.failure:
            (out / LOG).unlink()
        write_atomically(out / TRIED, pretty_json(said.model_dump(mode="json")))
    return said


@contextmanager
def process(log: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """Start the process in a session of its own, and see it gone, however this block ends."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "pipeline.quality.uses.consumer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=_offline_environment() | {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"},
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
                with suppress(BrokenPipeError):  # it left without reading the job; its exit code and log say why
                    pipe.close()


def converse(child: subprocess.Popen[str], job: dict[str, Any], listener: Listener) -> Tried | None:
    """Hand the job over and listen until the end; nothing said means that the process failed."""
    if child.stdin is None or child.stdout is None:
        return None
    with suppress(BrokenPipeError):
        child.stdin.write(json.dumps(job) + "\n")
        child.stdin.flush()
    found = None
    for line in child.stdout:
        message = json.loads(line)
        if "drawn" in message:
            done, total = message["drawn"]
            listener(Event("progress", "validate", job["use"], "", done, total, "pictures"))
        else:
            found = Tried.model_validate(message["tried"])
    return found


def refuse_source(lora: Lora, failure: str) -> RecipeError:
    """Return the error for a LoRA that the source itself does not take."""
    what = f"The source itself does not take this LoRA: {failure}"
    return RecipeError(what, where=lora.name, remedy="Name another LoRA in the recipe, or one that was trained for it.")
