"""Judges: the models that a recipe's requirements name, such as the one that gives the CLIP score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from pipeline.events import Listener
from pipeline.files import FileEntry, Manifest, digest_of, sha256_file
from pipeline.hub.source import Repository
from pipeline.recipe import InvalidRecipe, Loaded, problem_at
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
            InvalidRecipe: The recipe names folders that are not there.
        """
        named = self.loaded.recipe.validation.require.judged
        missing = [
            problem_at(self.loaded, ("validation", "require", metric, "model"), f"there is no folder {model}")
            for metric, (model, _) in named.items()
            if is_path(model) and not self.loaded.resolve(model).is_dir()
        ]
        if missing:
            raise InvalidRecipe(missing, str(self.loaded.path))
        return {metric: self.place_of(*model) for metric, model in named.items()}

    @cached_property
    def pins(self) -> dict[str, str]:
        """What names the content of each for good: its commit, or the digest of its files."""
        return {metric: pin_of(place) for metric, place in self.places.items()}

    def place_of(self, model: str, revision: str | None) -> Repository | Path:
        """Return where one of them lies."""
        return self.loaded.resolve(model) if is_path(model) else self.find(model, revision)

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
