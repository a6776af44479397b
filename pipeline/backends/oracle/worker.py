"""Asks diffusers or transformers what it makes of a component; run as a process of its own by `conversion.ask`.

Its jobs are `ConversionRequest`: it builds each model on the meta device, lets the library's own quantizer work on it,
and answers with a `ConversionPlan`. No weight is read, and none takes memory. A `CallRequest` asks about a whole
pipeline, of which nothing is built, and a `SingleFileRequest` about names.
"""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any, Final

from pydantic import TypeAdapter

from pipeline.backends import BACKENDS
from pipeline.backends.oracle import diffusers as library_diffusers
from pipeline.backends.oracle import transformers as library_transformers
from pipeline.backends.oracle.call import loaded_as, taken
from pipeline.backends.oracle.conversion import (
    CallRequest,
    Conversion,
    ConversionPlan,
    ConversionRequest,
    PipelineCall,
)
from pipeline.backends.oracle.keep import agree, matching, spell
from pipeline.backends.oracle.model import Place, Prepared
from pipeline.backends.oracle.probing import answer_single_file
from pipeline.backends.oracle.single_file import SingleFile, SingleFileRequest
from pipeline.source.classes import FULL_PRECISION, quantized_already
from pipeline.source.safetensors import FLOATS
from pipeline.worker.child import WorkerError, first_line, serve
from pipeline.worker.startup import gc_paused

LIBRARIES: dict[str, ModuleType] = {"diffusers": library_diffusers, "transformers": library_transformers}
Asked = ConversionRequest | CallRequest | SingleFileRequest
QUESTIONS: Final = TypeAdapter[Asked](Asked)
CASTABLE = {*FLOATS, "I64", "I32", "I16", "I8", "U8", "BOOL"}


def answer(question: ConversionRequest) -> ConversionPlan:
    """Ask the library about a component.

    Raises:
        WorkerError: The tensors, the class or ``keep`` do not fit.
    """
    refuse_quantized(question)
    library = LIBRARIES[question.library]
    first = prepare(question, None)
    wanted = first.converted()
    if question.keep:
        wanted -= matching(question.keep, first.linears())
        prepared = prepare(question, spell(question, first, wanted))
        agree(question, prepared.converted(), wanted)
    else:
        prepared = first
    by_default = first.converted()
    kept = {name: "keep" if name in by_default else why_left(question, prepared, name) for name in prepared.linears()}
    followed = library.follow(question, prepared)
    conversions = {source: convert(question, prepared, source, place) for source, place in followed.places.items()}
    return ConversionPlan(
        conversions=conversions,
        parameters=tuple(prepared.parameters),
        repeated=followed.repeated,
        together=together(prepared, conversions),
        kept={name: reason for name, reason in kept.items() if name not in wanted},
        config=library.config_text(question, prepared),
    )


def together(prepared: Prepared, conversions: dict[str, Conversion]) -> tuple[tuple[str, ...], ...]:
    """Return the tensors of the source that are quantized as one, by name."""
    found: dict[tuple[str, str], list[str]] = {}
    for source, conversion in conversions.items():
        module = conversion.parameter.rpartition(".")[0]
        if conversion.quantized and (name := prepared.quirks.together(prepared, module)):
            found.setdefault((name, conversion.dtype), []).append(source)
    return tuple(tuple(names) for names in found.values() if len(names) > 1)


def why_left(question: ConversionRequest, prepared: Prepared, module: str) -> str:
    """Return why a module stays as it is that nobody asked to keep."""
    return prepared.quirks.left_because(prepared, module) or f"left alone by {question.library}"


def answer_call(question: CallRequest) -> PipelineCall:
    """Return what the call of a pipeline takes.

    Raises:
        WorkerError: The library has no such pipeline.
    """
    kind = loaded_as(question.loader, question.class_name)
    return PipelineCall(class_name=kind.__name__, takes=taken(kind))


def prepare(question: ConversionRequest, skip: list[str] | None) -> Prepared:
    """Build the model without weights and let the library's quantizer preprocess it."""
    settings, backend = copy.deepcopy(question.quantization), BACKENDS[question.backend]
    backend.LOADERS[question.library].learn()
    if skip is not None:
        settings[backend.SKIP["key"]] = skip
    prepared: Prepared = LIBRARIES[question.library].prepare(question, settings)
    prepared.quirks.refuse(question, prepared)
    return prepared


def refuse_quantized(question: ConversionRequest) -> None:
    """Refuse a source that somebody quantized before.

    Raises:
        WorkerError: Its config says so.
    """
    if what := quantized_already(question.class_name, question.config):
        raise WorkerError("source", what, FULL_PRECISION)


def convert(question: ConversionRequest, prepared: Prepared, source: str, place: Place) -> Conversion:
    """Decide on one tensor as the library's loader does.

    Raises:
        WorkerError: It is stored in a dtype that means nothing without the scales beside it, or cannot be quantized.
    """
    stored, parameter = question.tensors[source].dtype, place.parameter
    taken = prepared.quantizes(parameter)
    if stored not in (FLOATS if taken else CASTABLE):
        what = f"The tensor {source!r} is stored as {stored}, which {question.library} cannot take as a plain weight."
        raise WorkerError("source", what, FULL_PRECISION)
    module = prepared.modules[parameter.rpartition(".")[0]]
    return Conversion(
        parameter=parameter,
        dtype=LIBRARIES[question.library].dtype_of(question, prepared, stored, parameter),
        quantized=taken,
        transposed=taken and type(module).__name__ == "Conv1D",
        written="" if place.written == source else place.written,
    )


def answer_of(question: Asked) -> ConversionPlan | PipelineCall | SingleFile:
    """Return the answer to a question.

    Raises:
        WorkerError: There is none.
    """
    if isinstance(question, ConversionRequest):
        return answer(question)
    return answer_single_file(question) if isinstance(question, SingleFileRequest) else answer_call(question)


def say(question: Asked) -> dict[str, Any]:
    """Return the answer to a question, or why there is none."""
    try:
        return answer_of(question).model_dump(mode="json")
    except WorkerError as refusal:
        return refusal.said
    except ImportError as error:
        what = f"A library that {question.class_name} needs is missing or broken: {first_line(error)}"
        remedy = "Install it (pip install 'quantpress[all]' brings every backend), or leave this component out."
        return WorkerError("environment", what, remedy).said
    except Exception as error:  # the libraries' own code, of any class; other questions still want their answers
        part = question if isinstance(question, ConversionRequest) else None
        library, remedy = (part.library, "Leave this component out of the target.") if part else ("diffusers", "")
        what = f"{library} failed on {question.class_name}: {type(error).__name__}: {first_line(error)}"
        return WorkerError("library", what, remedy).said


if __name__ == "__main__":
    with gc_paused():
        serve(lambda job, _: say(QUESTIONS.validate_json(job)))
