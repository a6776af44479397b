"""A component made by its library alone: loaded with a ``quantization_config`` and saved, in a process of its own.

It takes the memory of the whole component. Every library that can be asked for a checkpoint at all can be asked so;
those that can say what becomes of a single weight are faster, and need no memory, by being `Streaming`.
"""

from __future__ import annotations

import os
from typing import Final

from pipeline.backends.artifact import SAFETENSORS, Artifact, BuildRequest, Form, artifact_in
from pipeline.errors import QuantizationError
from pipeline.worker.session import WorkerDiedError, ask_worker, error_of

SECONDS: Final = 24 * 3600.0  # that the largest components on a slow processor stay below


def build(request: BuildRequest, worker: str = "pipeline.backends.build_worker", form: Form = SAFETENSORS) -> Artifact:
    """Have the library make a component.

    Args:
        request: The component.
        worker: The module that makes it, in a process of its own.
        form: In what files it does.

    Raises:
        SourceError: The library has no such class.
        CannotHereError: Something that it needs is not installed.
        QuantizationError: It failed.
    """
    where = f"{request.backend}, {request.class_name}"
    devices = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")} if request.device == "cuda" else {}
    try:
        (said,) = ask_worker(worker, [request.model_dump_json()], devices, SECONDS)
    except WorkerDiedError as error:
        remedy = "A library makes a component whole, in memory: use a machine with more of it, or another backend."
        raise QuantizationError(f"The library did not make it: {error}.", where=where, remedy=remedy) from error
    if "error" in said:
        raise error_of(said, where)
    return artifact_in(request.out, form)
