"""Fuse: the source with LoRAs in it, which is what is quantized from there on, and what the result is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pipeline.backends.oracle.conversion import installed_versions
from pipeline.events import Event
from pipeline.files import digest_of, link_or_copy
from pipeline.hub.source import Repository
from pipeline.plan.loras import FoundLora
from pipeline.plan.model import TargetPlan
from pipeline.quantize.build import Origin
from pipeline.quantize.lora.adapters import Adapter, changed_files, fuse_into, try_on
from pipeline.quantize.room import require_room, same_disk, source_to_come
from pipeline.quantize.sourcing import Sourcing
from pipeline.source.fetch import fetch
from pipeline.source.layout import Folder

FUSED: Final = "fused"
DECIDING: Final = ("quantpress", "torch", "diffusers", "transformers", "peft")


def fused_source(sourcing: Sourcing, plan: TargetPlan, loras: Sequence[FoundLora]) -> Origin:
    """Return where the source's bytes come from once its LoRAs are fused; it has to lie on this disk for that.

    Args:
        sourcing: Where the source lies.
        plan: The plan of any target; they share the source.
        loras: The recipe's LoRAs.

    Raises:
        RecipeError: A LoRA does not fit the source.
        SourceError: A file is not what its place says.
        HubUnavailableError: The Hub does not answer.
        CannotHereError: A library is missing, or the disk is full.
    """
    place, layout, store, listen = sourcing.place, sourcing.layout, sourcing.store, sourcing.listen
    fused = [lora for lora in loras if lora.planned.how == "fused"]
    adapters = tuple(adapter_of(lora, lora.local(store, listen)) for lora in fused)
    key = fused_key(plan)
    if sourcing.stream:
        listen(Event("note", "fetch", "", "stores the source: what a LoRA is fused into is not streamed"))
    if not store.look(FUSED, key) and not isinstance(place, Folder):
        try_on(place, layout, adapters)  # before all of it is fetched

    def build(folder: Path) -> None:
        coming = source_to_come(place, plan.files, store, plan.files)
        size = sum(file.size for file in plan.files.values())
        if coming + size > store.room() and (isinstance(place, Repository) or same_disk(place.path, store)):
            size = sum(plan.files[file].size for file in changed_files(place, layout, adapters))
        require_room(coming + size, store)
        whole = fetch(place, plan.files, store, listen)
        for name in plan.files:
            link_or_copy(whole / name, folder / name)
        changed = fuse_into(folder, Folder(folder), layout, adapters)
        tell(sourcing, plan, changed)

    folder = store.make(FUSED, key, build)
    memory = sourcing.home / "digests" / f"{key}.json"
    return Origin(folder, Folder(folder, memory=memory).listed(plan.files), layout, f"{place.where} with LoRAs")


def fused_key(plan: TargetPlan) -> str:
    """Return the digest of what the source with its LoRAs depends on."""
    return digest_of([plan.source_content, installed_versions(DECIDING)])


def adapter_of(lora: FoundLora, file: Path) -> Adapter:
    """Return a LoRA as the process that fuses takes it."""
    return Adapter(file=str(file), scale=lora.planned.scale, where=lora.planned.where)


def tell(sourcing: Sourcing, plan: TargetPlan, changed: dict[str, list[str]]) -> None:
    """Say what was fused."""
    names = ", ".join(lora.name for lora in plan.fused)
    counts = ", ".join(f"{len(tensors)} tensors of {name}" for name, tensors in changed.items())
    sourcing.listen(Event("note", "fetch", "", f"fused {names}: {counts}"))
