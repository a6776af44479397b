"""Classes of components: in which modules a plain ``from_pretrained`` finds them, and how their files are called."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

WEIGHTS_NAME: Final = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
FULL_PRECISION: Final = (
    "Name the repository of the full-precision weights as the source; `publish lint` tells whether these are whole."
)


def loads_plainly(library: str) -> bool:
    """Return whether ``from_pretrained`` finds classes there by itself, as diffusers 0.42 looks for them.

    Beside the two libraries there are diffusers' own pipelines: ``["stable_audio", "StableAudioProjectionModel"]`` is a
    class in ``diffusers.pipelines.stable_audio``. Where diffusers is not installed nobody knows their names.
    """
    pipelines = pipelines_of_diffusers()
    return library.partition(".")[0] in WEIGHTS_NAME or library in pipelines or not pipelines


@cache
def pipelines_of_diffusers() -> frozenset[str]:
    """Return the names of the modules of diffusers' pipelines, without importing it; none where it is not installed."""
    found = find_spec("diffusers")
    places = found.submodule_search_locations if found else None
    return frozenset(path.parent.name for place in places or () for path in Path(place).glob("pipelines/*/__init__.py"))


def families_of(library: str) -> tuple[str, ...]:
    """Return the libraries whose names for weight files a component may use.

    A class of a pipeline's own module uses those of the library whose model it derives from, which its name hides.
    """
    return (library,) if library in WEIGHTS_NAME else tuple(WEIGHTS_NAME)


def quantized_already(class_name: str, config: Mapping[str, Any]) -> str:
    """Return what to tell of a model that somebody quantized before, as its config says; empty where nobody did."""
    configs = [config, *(part for part in config.values() if isinstance(part, dict))]
    said = next((part["quantization_config"] for part in configs if part.get("quantization_config")), None)
    method = said.get("quant_method", "another method") if isinstance(said, dict) else said
    return f"This {class_name} is quantized already, with {method}." if said else ""
