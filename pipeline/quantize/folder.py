"""Quantizes a folder or a repository without a recipe: what ``publish quantize`` does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.backends import BACKENDS
from pipeline.backends.available import require, require_device
from pipeline.backends.oracle.conversion import LIBRARIES, ask_ahead, installed_versions
from pipeline.errors import RecipeError
from pipeline.events import Listener
from pipeline.files import digest_of, files_under
from pipeline.hub.source import Repository
from pipeline.plan.model import ResolvedComponent, SourceModel, name_of, question_of, resolve, samples_of
from pipeline.quantize.build import Origin, Result, make, measured, streamed_files, warm
from pipeline.recipe import Quantization
from pipeline.source.fetch import fetch, stored
from pipeline.source.layout import Component, Folder, Layout, read_slots
from pipeline.store import Store

AUTOENCODERS = ("Autoencoder", "VQModel", "ConsistencyDecoderVAE")


@dataclass(frozen=True)
class QuantizeRequest:
    """What is wanted of a source.

    Attributes:
        quantization: What is done to each component.
        components: Which ones; the denoisers of a pipeline where none is named.
        device: Where the library packs what no kernel of ours is used for: ``cpu`` or ``cuda``.
        stream: Whether weights on a Hub are quantized as they come and never stored.
    """

    quantization: Quantization
    components: tuple[str, ...] = ()
    device: str = "cpu"
    stream: bool = False


def quantize_source(
    place: Repository | Folder, layout: Layout, order: QuantizeRequest, out: Path, home: Path, listen: Listener
) -> dict[str, Any]:
    """Quantize a source into a folder, which is there when it is whole and not before.

    Beside it a hidden folder holds what is under way; the same command after an interruption continues there.

    Args:
        place: The source.
        layout: Its components.
        order: What is wanted of it.
        out: The folder to make.
        home: Where answers of the libraries, and files of a repository, are kept.
        listen: Hears of progress in bytes of the source.

    Returns:
        What was made and measured, as JSON.

    Raises:
        RecipeError: The folder is there already, or a component is not.
        SourceError: The source is broken.
        CannotHereError: A library or a device is missing, or the disk is full.
        QuantizationError: The library refused or failed.
    """
    began = time.monotonic()
    require_absent(out)
    require(BACKENDS[order.quantization.backend], order.quantization.scheme)
    require_device(order.device)
    warm([order.quantization])
    parts = consult(place, layout, order, home / "answers")
    refuse_calibrated(parts)
    aside = Store(out.parent / f".{out.name}.making", listen)

    def build(folder: Path) -> None:
        origin = origin_of(place, layout, parts, order, home, listen)
        make([Result(folder, parts, order.device)], origin, place.where, listen)

    sealed = aside.make("checkpoint", key_of(place, parts, order), build, resume=True)
    require_absent(out)
    sealed.rename(out)
    shutil.rmtree(aside.root)
    return {
        "out": str(out),
        "seconds": round(time.monotonic() - began, 3),
        "source_bytes": sum(place.files[name].size for name in layout.wanted),
        "result_bytes": sum(file.stat().st_size for file in files_under(out)),
        "components": measured(out),
    }


def refuse_calibrated(parts: Mapping[str, ResolvedComponent]) -> None:
    """Refuse a scheme that depends on questions.

    Raises:
        RecipeError: There is one.
    """
    if part := next((part for part in parts.values() if samples_of(part)), None):
        raise RecipeError(
            f"{part.quantization.words} measures activations while the source answers prompts, and there are none.",
            where=part.component.name,
            remedy="Write a recipe with `publish init`, which names prompts, or choose a scheme that needs none.",
        )


def require_absent(out: Path) -> None:
    """Refuse to write into a folder that holds something.

    Raises:
        RecipeError: It does.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        remedy = "Name another with --out, or remove it."
        raise RecipeError("This folder is there already.", where=str(out), remedy=remedy)


def consult(
    place: Repository | Folder, layout: Layout, order: QuantizeRequest, answers: Path
) -> dict[str, ResolvedComponent]:
    """Ask the libraries about every component that is wanted.

    Raises:
        RecipeError: A component is not there, or there is none that is quantized unless named.
    """
    names = chosen(layout, order.components, place.where)
    slots = {name: read_slots(place, layout.components[name]) for name in names}
    questions = {name: question_of(place, layout.components[name], order.quantization, slots[name]) for name in names}
    ask_ahead(list(questions.values()), answers)
    source = SourceModel(place, name_of(place))
    return {
        name: resolve(question, layout.components[name], order.quantization, slots[name], answers, source)
        for name, question in questions.items()
    }


def chosen(layout: Layout, names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return the components that are quantized: those named, else the models of diffusers that are no autoencoder.

    The only one of a source needs no name.

    Raises:
        RecipeError: There is no such component, or none is left.
    """
    known = ", ".join(layout.components)
    for name in names:
        if name not in layout.components:
            raise RecipeError(f"The source has no component {name!r}.", where=where, remedy=f"It has {known}.")
    found = names or tuple(
        name
        for name, part in layout.components.items()
        if len(layout.components) == 1
        or ((part.weights or part.blocks) and part.library == "diffusers" and not is_autoencoder(part))
    )
    if not found:
        remedy = f"Name one with --component: it has {known}."
        raise RecipeError("No component is quantized unless it is named.", where=where, remedy=remedy)
    return found


def is_autoencoder(part: Component) -> bool:
    """Return whether a component makes pictures of what a model made, and takes little room."""
    return any(word in part.class_name for word in AUTOENCODERS)


def key_of(place: Repository | Folder, parts: Mapping[str, ResolvedComponent], order: QuantizeRequest) -> str:
    """Return the digest by which an interrupted command is known again."""
    stamps: dict[str, Any] = {name: file.model_dump() for name, file in place.files.items()}
    if isinstance(place, Folder):
        states = {name: (place.path / name).stat() for name in place.files}
        stamps = {name: [state.st_size, state.st_mtime_ns, state.st_ino] for name, state in states.items()}
    wanted = [order.quantization.model_dump(mode="json"), sorted(parts), order.device]
    made_by = installed_versions((*LIBRARIES, BACKENDS[order.quantization.backend].DISTRIBUTION))
    return digest_of([stamps, wanted, made_by])


def origin_of(
    place: Repository | Folder,
    layout: Layout,
    parts: Mapping[str, ResolvedComponent],
    order: QuantizeRequest,
    home: Path,
    listen: Listener,
) -> Origin:
    """Return where the source's bytes come from; of a repository everything that is not streamed is fetched."""
    if isinstance(place, Folder):
        return Origin(place.path, place.files, layout, place.where, lent=True)
    streamed = streamed_files(parts) if order.stream else set()
    wanted = {name: place.files[name] for name in layout.wanted if name not in streamed}
    folder = fetch(place, wanted, Store(home / "store", listen), listen)
    return Origin(folder, place.files, layout, place.where, place.open if streamed else None, stored(folder), lent=True)
