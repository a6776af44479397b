"""LoRAs: where the recipe's lie, which file of each is meant, and that file here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import RecipeError, SourceError
from pipeline.events import Listener
from pipeline.hub.source import Repository
from pipeline.plan.parts import PlannedLora
from pipeline.recipe import FolderLora, HubLora, Loaded
from pipeline.source.fetch import fetch
from pipeline.source.layout import Folder
from pipeline.store import Store

USUAL: Final = "pytorch_lora_weights.safetensors"  # as save_lora_weights of diffusers names it
WEIGHTS: Final = ".safetensors"

Find = Callable[[str, str], Repository]


@dataclass(frozen=True)
class FoundLora:
    """A LoRA as the plan pins it, and the repository or the folder that has its file."""

    planned: PlannedLora
    place: Repository | Path

    def local(self, store: Store, listen: Listener) -> Path:
        """Return its file on this disk, proven to be the one that the plan pins.

        Raises:
            SourceError: It is another file by now, or its Hub does not keep what it lists.
            HubUnavailableError: The Hub does not answer.
        """
        name, listed = self.planned.file, self.planned.listed
        if isinstance(self.place, Repository):
            return fetch(self.place, {name: listed}, store, listen) / name
        if not listed.describes(self.place / name):
            raise SourceError("It changed while it was used.", where=self.planned.where, remedy="Run again.")
        return self.place / name


def find_loras(loaded: Loaded, find: Find) -> tuple[FoundLora, ...]:
    """Return the LoRAs of a recipe in its order, each pinned to one file.

    Args:
        loaded: The recipe.
        find: Returns a repository at a commit.

    Raises:
        RecipeError: One is not there, or it is open which of its files is meant.
        SourceError: A repository is not there or refused.
        HubUnavailableError: The Hub does not answer.
    """
    return tuple(
        on_hub(lora, find) if isinstance(lora, HubLora) else on_disk(lora, loaded) for lora in loaded.recipe.loras
    )


def on_hub(lora: HubLora, find: Find) -> FoundLora:
    """Return a LoRA in a repository."""
    place = find(lora.repo, lora.revision)
    file = the_file(place.files, lora.file, place.where)
    pinned = PlannedLora(
        repo=lora.repo, revision=lora.revision, file=file, listed=place.files[file], scale=lora.scale, how=lora.how
    )
    return FoundLora(pinned, place)


def on_disk(lora: FolderLora, loaded: Loaded) -> FoundLora:
    """Return a LoRA in a folder, or one that is named itself."""
    path = loaded.resolve(lora.path).absolute()  # what it is a link to has another name, such as a blob's
    if not path.exists():
        remedy = "Correct the path, which is relative to the recipe's own file."
        raise RecipeError(f"There is no LoRA {lora.path}.", where=str(loaded.path), remedy=remedy)
    place = Folder(path) if path.is_dir() else Folder(path.parent, only=[path.name])
    file = the_file(place.files, lora.file, lora.path)
    place.require_pulled([file])
    listed = place.listed([file])[file]
    pinned = PlannedLora(path=lora.path, file=file, listed=listed, scale=lora.scale, how=lora.how)
    return FoundLora(pinned, place.path)


def the_file(names: Iterable[str], wanted: str | None, where: str) -> str:
    """Return which file of a LoRA is meant.

    Raises:
        RecipeError: It has none of that name, or several and none was named.
    """
    fitting = sorted(name for name in names if name.endswith(WEIGHTS) and wanted in {name, None})
    if wanted is None:
        at_root = [name for name in fitting if "/" not in name]
        fitting = [USUAL] if USUAL in fitting else at_root
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        remedy = "Say which one is meant with file: in the recipe."
        raise RecipeError(f"This LoRA has several files: {', '.join(fitting[:6])}.", where=where, remedy=remedy)
    what = (
        f"There is no {wanted} in it." if wanted else "There is no safetensors file in it, and pickles are never read."
    )
    raise RecipeError(what, where=where, remedy="Correct the LoRA in the recipe.")
