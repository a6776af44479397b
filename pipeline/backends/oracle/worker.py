"""Asks diffusers or transformers what it makes of a component; run as a process of its own by `conversion.ask`.

Its jobs are `ConversionRequest`: it builds each model on the meta device, lets the library's own quantizer work on it,
and answers with a `ConversionPlan`. No weight is read, and none takes memory.
"""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

from pipeline.backends import BACKENDS
from pipeline.backends.oracle import diffusers as library_diffusers
from pipeline.backends.oracle import transformers as library_transformers
from pipeline.backends.oracle.conversion import Conversion, ConversionPlan, ConversionRequest
from pipeline.backends.oracle.keep import agree, matching, spell
from pipeline.backends.oracle.model import Place, Prepared
from pipeline.source.classes import FULL_PRECISION, quantized_already
from pipeline.source.safetensors import FLOATS
from pipeline.worker.child import WorkerError, first_line, serve
from pipeline.worker.startup import gc_paused

LIBRARIES: dict[str, ModuleType] = {"diffusers": library_diffusers, "transformers": library_transformers}
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
    kept = {name: "keep" if name in by_default else f"left alone by {question.library}" for name in prepared.linears()}
    followed = library.follow(question, prepared)
    return ConversionPlan(
        conversions={source: convert(question, prepared, source, place) for source, place in followed.places.items()},
        parameters=tuple(prepared.parameters),
        repeated=followed.repeated,
        kept={name: reason for name, reason in kept.items() if name not in wanted},
        config=library.config_text(question, prepared),
    )


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


def say(question: ConversionRequest) -> dict[str, Any]:
    """Return the answer to a question, or why there is none."""
    try:
        return answer(question).model_dump(mode="json")
    except WorkerError as refusal:
        return refusal.said
    except ImportError as error:
        what = f"A library that {question.class_name} needs is missing or broken: {first_line(error)}"
        remedy = "Install it (pip install 'quantpress[all]' brings every backend), or leave this component out."
        return WorkerError("environment", what, remedy).said
    except Exception as error:  # the libraries' own code, of any class; other questions still want their answers
        what = f"{question.library} failed on {question.class_name}: {type(error).__name__}: {first_line(error)}"
        return WorkerError("library", what, "Leave this component out of the target.").said


if __name__ == "__main__":
    with gc_paused():
        serve(lambda job, _: say(ConversionRequest.model_validate_json(job)))
