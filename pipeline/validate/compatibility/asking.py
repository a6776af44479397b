"""Asks the process that tries: what travels to it and back, and which few of the questions it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from pipeline.errors import CannotHereError, GenerationError, RecipeError
from pipeline.events import Listener
from pipeline.files import disk_errors, empty, pretty_json, write_atomically
from pipeline.tasks.answers import Request
from pipeline.validate.generate import LOG, ask_consumer, progress
from pipeline.worker.session import SILENCE

QUESTIONS: Final = 4  # prompts, each with the first seed: with and without, on both sides, a few are a large part
TRIED: Final = "tried.json"
ANSWER_SECONDS: Final = 600.0  # that loading or one answer may take; OpenBLAS spins where memory is short


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


class SmallDevice(Value):
    """A device to confine a process to: bytes of memory, and how many threads of the processor."""

    memory: int
    threads: int


class Uses(Value):
    """What is tried."""

    loras: tuple[Lora, ...] = ()
    compilations: tuple[Compilation, ...] = ()
    device: SmallDevice | None = None


class Tried(Value):
    """What the process says at the end.

    Attributes:
        device: Where it ran.
        how: How the model was loaded.
        failure: What a library raised when it was to do the thing, and where that was; empty where it did it.
        missing: What this machine lacks for it, if that is why.
        numbers: What was counted and measured.
        breaks: Why the graph broke, each reason in a few words.
        processor: The processor, where its speed was measured.
    """

    device: str
    how: str
    failure: str = ""
    missing: str = ""
    numbers: dict[str, float] = {}
    breaks: tuple[str, ...] = ()
    processor: str = ""


def ask_with_lora(model: Path, lora: Lora, request: Request, out: Path, listener: Listener) -> Path:
    """Ask a pipeline a few questions without a LoRA and with it.

    Args:
        model: The pipeline.
        lora: The LoRA.
        request: The validation's questions.
        out: A folder; what it holds is dropped.
        listener: Hears of every answer.

    Returns:
        The folder: ``plain.npz``, ``adapted.npz`` and ``again.npz`` with float32 arrays, and what was said beside them.

    Raises:
        CannotHereError: A library is missing or the memory did not suffice.
        GenerationError: The pipeline does not load, or does not answer without the LoRA.
    """
    job = {"use": "lora", "file": str(lora.file.resolve()), "scale": lora.scale}
    ask(model, job, request, out, listener)
    return out


def try_compiling(model: Path, wanted: Compilation, request: Request, out: Path, listener: Listener) -> Tried:
    """Ask a model a few questions before a component is compiled, and after.

    Raises:
        CannotHereError: A library is missing or the memory did not suffice.
        GenerationError: The model does not load, or does not answer before it is compiled.
    """
    return ask(model, {"use": "compile", **wanted.model_dump(mode="json")}, request, out, listener)


def try_confined(model: Path, wanted: SmallDevice, request: Request, out: Path, listener: Listener) -> Tried:
    """Load a model and ask it a few questions within a device's limits; that it ends, however, is an answer as well."""
    try:
        return ask(model, {"use": "device", **wanted.model_dump()}, request, out, listener, ANSWER_SECONDS)
    except (CannotHereError, GenerationError) as error:
        return Tried(device="cpu", how="", failure=error.what)


def tried(folder: Path) -> Tried:
    """Return what was said at the end of a trial."""
    return Tried.model_validate_json((folder / TRIED).read_bytes())


def few(request: Request) -> Request:
    """Return the first questions, one for each of a few prompts."""
    return request.only(QUESTIONS, 1)


def ask(
    model: Path, job: dict[str, Any], request: Request, out: Path, listener: Listener, silence: float = SILENCE
) -> Tried:
    """Run the process that tries, and keep what it says in ``out``."""
    module, tell = "pipeline.validate.compatibility.consumer", progress(listener, "validate", job["use"], request)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        empty(out)
        told = ask_consumer(module, model, few(request), out, job, tell, silence=silence)
        said = Tried.model_validate(told)
        if not said.failure:
            (out / LOG).unlink()
        write_atomically(out / TRIED, pretty_json(said.model_dump(mode="json")))
    return said


def refuse_source(lora: Lora, failure: str) -> RecipeError:
    """Return the error for a LoRA that the source itself does not take."""
    what = f"The source itself does not take this LoRA: {failure}"
    return RecipeError(what, where=lora.name, remedy="Name another LoRA in the recipe, or one that was trained for it.")
