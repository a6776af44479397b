"""Loads one component quantized and saves it, as a user of diffusers or transformers would; a process of its own.

Its job is a `BuildRequest`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

from pipeline.backends import BACKENDS
from pipeline.backends.artifact import CONFIG, BuildRequest
from pipeline.backends.loader import lifts_of
from pipeline.backends.oracle.model import known_class
from pipeline.worker.child import WorkerError, first_line, serve
from pipeline.worker.startup import gc_paused


def make(request: BuildRequest) -> None:
    """Let the library load the component with its configuration, and save it.

    Raises:
        WorkerError: It has no such class.
    """
    import torch

    loader = BACKENDS[request.backend].LOADERS[request.library]
    loader.learn()
    further: dict[str, Any] = {"device_map": request.device} if request.device != "cpu" else {}
    for lift in lifts_of([loader]) if request.device == "cpu" else ():
        lift.before()
        further |= lift.arguments
    cls = known_class(import_module(request.library), request.class_name)
    config = configuration_of(request.library, request.quantization)
    dtype = getattr(torch, request.dtype)
    model = cls.from_pretrained(request.source, quantization_config=config, dtype=dtype, **further)
    model.save_pretrained(request.out)
    forget_source(request)


def configuration_of(library: str, settings: dict[str, Any]) -> Any:
    """Return the library's own object for a configuration."""
    if library == "transformers":
        from transformers.quantizers.auto import AutoQuantizationConfig

        return AutoQuantizationConfig.from_dict(settings)
    from diffusers.quantizers.auto import DiffusersAutoQuantizer

    return DiffusersAutoQuantizer.from_dict(settings)


def forget_source(request: BuildRequest) -> None:
    """Take the path that it was loaded from out of what is published."""
    path = request.out / CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.pop("_name_or_path", None) is not None:
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def say(request: BuildRequest, maker: Callable[[BuildRequest], None] = make) -> dict[str, Any]:
    """Make a component, and return nothing, or why it could not be made."""
    try:
        with gc_paused():
            maker(request)
    except WorkerError as refusal:
        return refusal.said
    except ImportError as error:
        what = f"A library that {request.class_name} needs is missing or broken: {first_line(error)}"
        return WorkerError("environment", what, "Install it, or leave this component out.").said
    except Exception as error:  # the libraries' own code, of any class
        what = f"{request.library} failed to quantize {request.class_name}: {type(error).__name__}: {first_line(error)}"
        return WorkerError("library", what, "Choose another backend or scheme for this component.").said
    return {}


if __name__ == "__main__":
    serve(lambda job, _: say(BuildRequest.model_validate_json(job)))
