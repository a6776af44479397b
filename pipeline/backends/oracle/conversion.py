"""What a library makes of a component: the modules a scheme converts, the dtypes, the config it writes.

And what a pipeline takes when it is called, which is asked in the same way.

The library itself is asked, on the meta device, in a process of its own (`pipeline.backends.oracle.worker`), and its
answer is kept by the digest of the question and of the versions. Neither this module nor its callers import torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.backends import BACKENDS
from pipeline.errors import QuantizationError
from pipeline.files import digest_of, pretty_json, sha256_file, write_atomically
from pipeline.source.safetensors import TensorHeader
from pipeline.worker.session import WorkerDiedError, ask_worker, error_of

LIBRARIES = ("torch", "diffusers", "transformers", "accelerate")  # that answer, beside the backend's own


class Question(BaseModel):
    """What a library is asked.

    Attributes:
        kind: What an answer is.
        class_name: The class that it is asked of; of a pipeline as its ``model_index.json`` names it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[type[BaseModel]]
    class_name: str

    @cached_property
    def digest(self) -> str:
        """The digest of what is asked, taken once: headers are long, and several targets ask the same."""
        return digest_of(self.model_dump(mode="json"))


class Conversion(BaseModel):
    """What becomes of one tensor of the source.

    Attributes:
        parameter: The tensor's name inside the model; the file's name may differ in some transformers models.
        dtype: The dtype it has when it is quantized or written.
        quantized: Whether the scheme takes it.
        transposed: Whether the library turns it before it quantizes (GPT-2's ``Conv1D``).
        written: The name it has in the result, where the library renames it for good; else empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameter: str
    dtype: str
    quantized: bool = False
    transposed: bool = False
    written: str = ""

    def name_of(self, source: str) -> str:
        """Return the name in the result of a tensor that is named so in the source."""
        return self.written or source

    def shape_of(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape in which the library quantizes a tensor that is stored in this one."""
        return stored[::-1] if self.transposed else stored


class ConversionPlan(BaseModel):
    """What the library makes of a component.

    Attributes:
        conversions: Every tensor that is written, by its name in the source's files, in the model's order.
        parameters: All names of the model's state in its order, those tied to a written tensor included.
        repeated: Tensors of the source that are not written because they are tied to another that is, by name: that
            other's name. Both must hold the same; the libraries would not tie them otherwise.
        together: Tensors of the source that are quantized as one, the rows of the first before those of the next, and
            written each under its own name.
        kept: Modules of a kind the scheme converts that stay as they are, each with the reason.
        config: The text of ``config.json`` as the library writes it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversions: dict[str, Conversion]
    parameters: tuple[str, ...]
    repeated: dict[str, str] = {}
    together: tuple[tuple[str, ...], ...] = ()
    kept: dict[str, str]
    config: str


class ConversionRequest(Question):
    """One component and what is to be done to it.

    Attributes:
        library: The package whose ``from_pretrained`` loads the component.
        config: The component's ``config.json``.
        tensors: The source's tensors by name.
        dtype: The dtype that ``from_pretrained`` is asked for.
        quantization: The ``quantization_config`` as a user would pass it.
        backend: Whose configuration that is.
        keep: Module names and globs that stay as they are.
    """

    kind = ConversionPlan

    library: Literal["diffusers", "transformers"]
    config: dict[str, Any]
    tensors: dict[str, TensorHeader]
    dtype: str
    quantization: dict[str, Any]
    backend: str
    keep: tuple[str, ...] = ()


class PipelineCall(BaseModel):
    """What the call of a pipeline takes.

    Attributes:
        class_name: The class that the loader makes of it.
        takes: The names of its arguments.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_name: str
    takes: tuple[str, ...]


class CallRequest(Question):
    """A pipeline of which one wants to know what its call takes.

    Attributes:
        loader: The class of diffusers whose ``from_pretrained`` loads it.
    """

    kind = PipelineCall

    loader: str


def installed_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Return the installed versions of the libraries that decide what a checkpoint looks like."""
    return {name: found for name in names if (found := installed_version(name))}


@cache
def installed_version(name: str) -> str:
    """Return the version of a distribution, read once in a process; empty where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def ask(question: ConversionRequest, answers: Path, where: str) -> ConversionPlan:
    """Return the library's answer, from the folder of kept answers where it was given before.

    Args:
        question: The component and the scheme.
        answers: The folder that keeps answers by digest.
        where: How the component is named in an error.

    Raises:
        RecipeError: ``keep`` matches nothing, or this backend cannot keep exactly those modules.
        SourceError: The tensors are not those of the class.
        CannotHereError: The library is not installed.
        QuantizationError: The library refused for another reason.
    """
    plan: ConversionPlan = answered(question, answers, where)
    return plan


def ask_call(question: CallRequest, answers: Path, where: str) -> PipelineCall:
    """Return what the call of a pipeline takes, from the same folder where that was asked before.

    Raises:
        SourceError: The library has no such pipeline.
        CannotHereError: The library is not installed.
        QuantizationError: The library failed.
    """
    call: PipelineCall = answered(question, answers, where)
    return call


def answered(question: Question, answers: Path, where: str) -> Any:
    """Return the answer to a question, from the folder that keeps them where it was asked before.

    Raises:
        PublishError: There is none, for the reason that the worker says.
    """
    kept = place_of(question, answers)
    try:
        return question.kind.model_validate_json(kept.read_bytes())
    except (FileNotFoundError, ValidationError):
        said = ask_library([question], where)[0]
    if "error" in said:
        raise error_of(said, where)
    return _keep(question.kind.model_validate(said), kept)


def ask_ahead(questions: Sequence[Question], answers: Path) -> None:
    """Ask everything that is not known yet in one process, because importing the libraries is most of the time.

    What has no answer is left for `ask` to find out, with its place in the message.
    """
    unknown = {place_of(question, answers): question for question in questions}
    unknown = {kept: question for kept, question in unknown.items() if not kept.exists()}
    if len(unknown) > 1:
        try:
            told = ask_library(list(unknown.values()), "the plan")
        except QuantizationError:  # one of them felled the process; asked alone, it is found out and the others answer
            return
        for (kept, question), said in zip(unknown.items(), told, strict=True):
            if "error" not in said:
                _keep(question.kind.model_validate(said), kept)


def place_of(question: Question, answers: Path) -> Path:
    """Return where an answer is kept: by question, versions, and the code that asks."""
    backends = (question.backend,) if isinstance(question, ConversionRequest) else ()
    asked = {
        "question": question.digest,
        "versions": installed_versions((*LIBRARIES, *(BACKENDS[name].DISTRIBUTION for name in backends))),
        "asker": asker(*backends),
    }
    return answers / f"{digest_of(asked)}.json"


@cache
def asker(*backends: str) -> str:
    """Return the digest of the code that an answer depends on: what asks, and what a backend has to add."""
    own = [Path(inspect.getfile(cast("ModuleType", BACKENDS[name]))).parent for name in backends]
    folders = [Path(__file__).parent, *own]
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    return digest_of([sha256_file(file) for file in files])


def _keep(answer: BaseModel, kept: Path) -> BaseModel:
    write_atomically(kept, pretty_json(answer.model_dump(mode="json")))
    return answer


def ask_library(questions: Sequence[Question], where: str) -> list[dict[str, Any]]:
    """Ask in a process of its own, and return for each question the fields of its answer or an ``error``.

    Raises:
        QuantizationError: The process ended without answers.
    """
    try:
        return ask_worker("pipeline.backends.oracle.worker", [question.model_dump_json() for question in questions])
    except WorkerDiedError as error:
        names = ", ".join(sorted({question.class_name for question in questions}))
        raise QuantizationError(f"The libraries could not be asked about {names}: {error}.", where=where) from error
