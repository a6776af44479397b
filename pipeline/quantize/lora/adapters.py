"""LoRAs fused into a source: its weight files rewritten in place, tensor by tensor, by the library in a child process.

What comes of it is what ``load_lora_weights``, ``fuse_lora`` and ``unload_lora_weights`` of diffusers make of the whole
pipeline, each tensor in the dtype in which it is stored, and nothing but the LoRA and one tensor is in memory. Headers
and all other bytes stay as they were. Neither this module nor its callers import torch; the child is
`pipeline.quantize.lora.worker`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pipeline.errors import CannotHereError, QuantizationError, SourceError
from pipeline.source.layout import Layout, Place, read_json, read_slots
from pipeline.source.safetensors import read_header
from pipeline.worker.session import WorkerDiedError, ask_worker, error_of

LIBRARIES = frozenset({"diffusers", "transformers"})
MEMORY_WORDS = ("MemoryError", "cannot allocate memory", "can't allocate memory")


class Value(BaseModel):
    """What travels to the child: frozen and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Adapter(Value):
    """One LoRA file, its scale, and how it is named in messages."""

    file: str
    scale: float
    where: str


class TensorLocation(Value):
    """Where a tensor of the source lies: its file's path in the folder, dtype, shape, and the bytes in it."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class ComponentFiles(Value):
    """A component that a LoRA may change."""

    library: Literal["diffusers", "transformers"]
    class_name: str
    config: dict[str, Any]
    tensors: dict[str, TensorLocation]


class Job(Value):
    """What the child is told: the pipeline's class, its parts, the folder to rewrite, and the LoRAs in their order.

    Where there is no folder they are only loaded, to see whether they fit.
    """

    pipeline: str
    parts: dict[str, ComponentFiles]
    folder: str | None
    loras: tuple[Adapter, ...]


def fuse_into(folder: Path, place: Place, layout: Layout, loras: tuple[Adapter, ...]) -> dict[str, list[str]]:
    """Fuse LoRAs one after another into the weights of a folder.

    Args:
        folder: The source's files; those that change are replaced, so that links to them elsewhere keep their bytes.
        place: The same files, to be read.
        layout: The components.
        loras: The LoRAs.

    Returns:
        The changed tensors by component, by their names in the files.

    Raises:
        RecipeError: A LoRA does not fit the source, or is none.
        CannotHereError: A library is missing, or the memory did not suffice.
        QuantizationError: The library failed.
    """
    return run(place, layout, loras, folder)


def try_on(place: Place, layout: Layout, loras: tuple[Adapter, ...]) -> None:
    """See whether LoRAs fit a source of which only headers and configs are read.

    Raises:
        RecipeError: One does not fit, or is none.
        CannotHereError: A library is missing.
        QuantizationError: The library failed.
    """
    run(place, layout, loras)


def changed_files(place: Place, layout: Layout, loras: tuple[Adapter, ...]) -> set[str]:
    """Return the files whose bytes change when LoRAs are fused.

    Raises:
        PublishError: As `try_on`.
    """
    parts, changed = parts_of(place, layout), run(place, layout, loras)
    return {parts[name].tensors[tensor].file for name, tensors in changed.items() for tensor in tensors}


def run(
    place: Place, layout: Layout, loras: tuple[Adapter, ...], folder: Path | None = None
) -> dict[str, list[str]]:  # fmt: skip
    """Have the child do a job.

    Raises:
        PublishError: As `fuse_into`.
    """
    for lora in loras:
        require_lora(lora)
    where, into = ", ".join(lora.where for lora in loras), None if folder is None else str(folder)
    job = Job(pipeline=layout.class_name, parts=parts_of(place, layout), folder=into, loras=loras)
    try:
        (said,) = ask_worker("pipeline.quantize.lora.worker", [job.model_dump_json()])
    except WorkerDiedError as error:
        if error.code < 0 or any(word in str(error) for word in MEMORY_WORDS):
            remedy = "Free some memory and run again: the LoRA itself and its largest tensor must fit."
            raise CannotHereError(f"Fusing was cut short: {error}.", where=where, remedy=remedy) from error
        raise QuantizationError(f"The LoRA could not be fused: {error}.", where=where) from error
    if "error" in said:
        raise error_of(said, where)
    return dict(said["fused"])


def require_lora(lora: Adapter) -> None:
    """Refuse a file whose header lies before a library reads it.

    Raises:
        SourceError: It is no safetensors file.
    """
    try:
        read_header(Path(lora.file))
    except SourceError as error:
        raise SourceError(error.what, where=lora.where, remedy=error.remedy) from error


def parts_of(place: Place, layout: Layout) -> dict[str, ComponentFiles]:
    """Return the components with weights that either library loads; which of them take a LoRA, the library knows."""
    return {
        name: ComponentFiles(
            library=component.library,  # type: ignore[arg-type]
            class_name=component.class_name,
            config=read_json(place, component.config),
            tensors={
                tensor: TensorLocation(file=file, dtype=slot.dtype, shape=slot.shape, begin=slot.begin, end=slot.end)
                for file, slots in read_slots(place, component).items()
                for tensor, slot in slots.items()
            },
        )
        for name, component in layout.components.items()
        if component.weights and component.library in LIBRARIES
    }
