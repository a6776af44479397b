"""Judges: the models that a recipe's requirements name, such as the one that gives the CLIP score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from pipeline.errors import RecipeError
from pipeline.events import Listener
from pipeline.files import FileEntry, Manifest, digest_of, sha256_file
from pipeline.hub.source import Repository
from pipeline.recipe import Loaded
from pipeline.recipe.names import is_path
from pipeline.source.fetch import fetch
from pipeline.source.layout import Folder
from pipeline.store import Store

FILES: Final = (".json", ".txt", ".safetensors", ".model")


@dataclass(frozen=True)
class Judges:
    """Where the models that judge come from.

    Attributes:
        loaded: The recipe.
        find: Returns a model repository at a commit.
    """

    loaded: Loaded
    find: Callable[[str, str | None], Repository]

    @cached_property
    def places(self) -> dict[str, Repository | Path]:
        """Where each of them lies, by metric; on a Hub without a revision it is what ``main`` is now.

        Raises:
            RecipeError: The recipe names a folder that is not there.
        """
        named = self.loaded.recipe.validation.require.judged
        return {metric: self.place_of(metric, *model) for metric, model in named.items()}

    @cached_property
    def pins(self) -> dict[str, str]:
        """What names the content of each for good: its commit, or the digest of its files."""
        return {metric: pin_of(place) for metric, place in self.places.items()}

    def place_of(self, metric: str, model: str, revision: str | None) -> Repository | Path:
        """Return where one of them lies."""
        if not is_path(model):
            return self.find(model, revision)
        folder = self.loaded.resolve(model)
        if not folder.is_dir():
            remedy = f"Correct validation.require.{metric}.model."
            raise RecipeError(f"There is no folder {model}.", where=str(self.loaded.path), remedy=remedy)
        return folder

    def folders(self, store: Store, listen: Listener) -> dict[str, Path]:
        """Return the folder of each, fetched where it is on a Hub."""
        return {metric: folder_of(place, store, listen) for metric, place in self.places.items()}


def pin_of(place: Repository | Path) -> str:
    """Return what names the content of a place for good."""
    if isinstance(place, Repository):
        return place.revision
    folder = Folder(place)
    names = read_by_judges(folder)
    folder.require_pulled(names)
    entries = {name: FileEntry(size=folder.files[name].size, sha256=sha256_file(place / name)) for name in names}
    return digest_of(Manifest(files=entries).model_dump(mode="json"))


def read_by_judges(place: Repository | Folder) -> list[str]:
    """Return the files of a model that judging reads: those at its top, and no pickles."""
    return [name for name in place.files if "/" not in name and name.endswith(FILES)]


def folder_of(place: Repository | Path, store: Store, listen: Listener) -> Path:
    """Return the folder of a model; of a repository only what lies at its top is fetched."""
    if not isinstance(place, Repository):
        return place
    return fetch(place, place.listed(read_by_judges(place)), store, listen)
