"""Loads a model as its users do; what this machine forbids is stepped round, in this process only, and told.

On a GPU nothing is done instead. Without one, what a backend's loader says is in the way of a sound checkpoint is
lifted, and each such thing leaves its sentence in the report and the card.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final

from pipeline.backends import BACKENDS, loaders
from pipeline.backends.artifact import SAFETENSORS
from pipeline.backends.loader import lifts_of
from pipeline.backends.oracle.model import known_class
from pipeline.source.classes import WEIGHTS_NAME, families_of
from pipeline.source.layout import MODEL
from pipeline.tasks.protocol import LoadedModel

AS_PUBLISHED: Final = "as published: from_pretrained"


def quantized_components(model: Path) -> dict[str, tuple[str, str]]:
    """Return for every quantized component its library (``diffusers`` or ``transformers``) and quant_method."""
    index = model / "model_index.json"
    folders = {MODEL: ("transformers", model)}
    if index.is_file():
        entries = json.loads(index.read_text(encoding="utf-8")).items()
        folders = {name: (str(entry[0]), model / name) for name, entry in entries if named(entry)}
    methods = {name: (library, method_in(folder, library)) for name, (library, folder) in folders.items()}
    return {name: (library, method) for name, (library, method) in methods.items() if method}


def named(entry: Any) -> bool:
    """Tell a component of ``model_index.json`` from the pipeline's options."""
    return isinstance(entry, list) and isinstance(entry[0], str)


def method_in(folder: Path, library: str) -> str:
    """Return the ``quant_method`` that a config names, else the backend of whose form its weights are; else nothing.

    Many repositories have graphs beside their weights, and ``from_pretrained`` reads the weights.
    """
    config = folder / "config.json"
    found = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    if said := (found.get("quantization_config") or {}).get("quant_method"):
        return str(said)
    plain = tuple(WEIGHTS_NAME[family] for family in families_of(library))
    if any(file.startswith(plain) for file in SAFETENSORS.weights_in(folder)):
        return ""
    telling = {name: backend.LOADERS[library].form for name, backend in BACKENDS.items() if library in backend.LOADERS}
    return next((name for name, form in telling.items() if not form.config and form.weights_in(folder)), "")


def from_pretrained(
    kind: Any, model: Path, parts: Callable[[Any], Mapping[str, Any]], further: Mapping[str, Any]
) -> LoadedModel:
    """Load by a class's ``from_pretrained``, onto the GPU if there is one, else onto the CPU.

    Args:
        kind: The class.
        model: The folder.
        parts: Returns the components of what was loaded, by their names.
        further: Arguments, such as ``dtype``.
    """
    import torch

    known = loaders(quantized_components(model).values())
    for loader in known:
        loader.learn()
    lifts = [] if torch.cuda.is_available() else lifts_of(known)
    said = [lift.before() for lift in lifts]
    lifted = {name: value for lift in lifts for name, value in lift.arguments.items()}
    opens = next((resolve_name(loader.opens) for loader in known if loader.opens), None)
    apart = {} if opens else opened_apart(kind, model, further)
    if opens:
        loaded = opens(kind, model)
    elif MODEL in apart:
        loaded = apart[MODEL].to(further["device_map"])
    else:
        kind = own_class(kind, model) if apart else kind
        loaded = kind.from_pretrained(model, **{**further, **lifted, **apart})
    said += [after(parts(loaded)) for after in dict.fromkeys(lift.after for lift in lifts)]
    told = [sentence for sentence in said if sentence]
    own = next((loader.how for loader in known if loader.how), "")
    how = "; ".join([own or "from_pretrained", *told]) if told else own or AS_PUBLISHED
    return LoadedModel(loaded, parts(loaded), loaded.device, how)


def own_class(kind: Any, model: Path) -> Any:
    """Return the class of a pipeline itself where any is loaded by `DiffusionPipeline`.

    That drops a component that it is given (0.42) if the class can do without, as Wan's can without its transformer.
    """
    import diffusers

    if kind is not diffusers.DiffusionPipeline:
        return kind
    return getattr(diffusers, json.loads((model / "model_index.json").read_text(encoding="utf-8"))["_class_name"])


def opened_apart(kind: Any, model: Path, further: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``from_pretrained`` does not find in a folder, opened: components of a pipeline, or the one model."""
    found = {}
    for name, (library, method) in quantized_components(model).items():
        loader = BACKENDS[method].LOADERS.get(library) if method in BACKENDS else None
        if not loader or not loader.part:
            continue
        cls, folder = kind, model
        if name != MODEL:
            entry = json.loads((model / "model_index.json").read_text(encoding="utf-8"))[name]
            cls, folder = known_class(import_module(library), entry[1]), model / name
        found[name] = resolve_name(loader.part)(cls, folder, further["dtype"])
    return found
