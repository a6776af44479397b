"""Commits: what differs between two of a repository, by its listings and the headers of its tensors alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from pipeline.hub.source import Repository
from pipeline.source.layout import Component, read_slots, read_source
from pipeline.source.model_card import LICENSE_KEYS, repeated_fields

Value = TypeVar("Value")


class Differences(BaseModel):
    """What changes from one commit to another: before and after by name, None where there is none.

    Attributes:
        files: Sizes in bytes; both may be the same where only the content differs.
        tensors: Dtypes and shapes, such as ``BF16 [64, 64]``, of the tensors that ``from_pretrained`` reads.
        license: What the card says of the license.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, tuple[int | None, int | None]]
    tensors: dict[str, tuple[str | None, str | None]] = {}
    license: dict[str, tuple[str | None, str | None]] = {}


def files_between(before: Repository, after: Repository) -> Differences:
    """Return which files differ, by the digests of both listings."""
    changed = differing(before.files, after.files)
    sizes = {name: (old.size if old else None, new.size if new else None) for name, (old, new) in changed.items()}
    return Differences(files=sizes)


def models_between(before: Repository, after: Repository, variant: str | None) -> Differences:
    """Return what differs between two commits of a model: files, tensors and license.

    Args:
        before: The one commit.
        after: The other one.
        variant: The variant of its weights that is read.

    Raises:
        SourceError: One of them cannot be read as a model, or this token may not read it.
        HubUnavailableError: The Hub does not answer.
    """
    found = files_between(before, after)
    cards = [{key: str(value) for key, value in repeated_fields(place).items()} for place in (before, after)]
    said = {key: both for key, both in differing(*cards).items() if key in LICENSE_KEYS}
    old, new = (read_source(place, variant).components for place in (before, after))
    tensors: dict[str, tuple[str | None, str | None]] = {}
    for name in sorted(old.keys() | new.keys()):
        parts = [side.get(name) for side in (old, new)]
        if any(file in found.files for part in parts if part for file in part.weights):
            sides = [told(place, part) for place, part in zip((before, after), parts, strict=True)]
            tensors |= differing(*sides)
    return found.model_copy(update={"tensors": tensors, "license": said})


def told(place: Repository, component: Component | None) -> dict[str, str]:
    """Return dtype and shape of every tensor of a component, read from the headers of its files."""
    if component is None:
        return {}
    slots = read_slots(place, component)
    return {
        f"{component.folder}{name}": f"{slot.dtype} {list(slot.shape)}"
        for file in sorted(slots)
        for name, slot in slots[file].items()
    }


def differing(before: Mapping[str, Value], after: Mapping[str, Value]) -> dict[str, tuple[Value | None, Value | None]]:
    """Return what two mappings do not have in common, sorted by name."""
    names = sorted(before.keys() | after.keys())
    both = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}
