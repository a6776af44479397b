"""Collections on disk: titled lists of repositories, papers and other collections, one small file each.

A collection is known by the 24 digits at the end of its slug; the words before them follow its title.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from pipeline.files import write_atomically
from pipeline.hub.local.names import checked_repo_id
from pipeline.hub.local.records import now
from pipeline.hub.local.refusals import RefusedError, conflict
from pipeline.hub.local.repository import locked

ItemType = Literal["model", "dataset", "space", "paper", "collection"]
Theme = Literal["orange", "blue", "green", "purple", "pink", "indigo"]

_SLUG = re.compile(r"([^/]+)/(?:[^/]*-)?([0-9a-f]{24})")
_NO_WORD = re.compile(r"[^a-z0-9]+")
_WORDS_LENGTH = 60


class Item(BaseModel):
    """One entry of a collection: ``of`` is a repository's id, a paper's, or the digits of another collection."""

    id: str
    type: ItemType
    of: str
    note: str | None = None


class Collection(BaseModel):
    """A collection of a user or an organization."""

    id: str
    owner: str
    title: str
    description: str | None = None
    private: bool = False
    theme: Theme = "orange"
    position: int = 0
    updated: str
    items: list[Item] = []

    @property
    def slug(self) -> str:
        """The owner, the words of the title and the id, as addresses use them."""
        words = _NO_WORD.sub("-", self.title.lower())[:_WORDS_LENGTH].strip("-")
        return f"{self.owner}/{words or 'collection'}-{self.id}"


def new_id() -> str:
    """Return 24 digits that nothing else has."""
    return secrets.token_hex(12)


def collection_not_found() -> RefusedError:
    """Deny a collection that does not exist, or that the caller must not know of."""
    return RefusedError(404, "CollectionNotFound", "Collection not found")


class Collections:
    """A folder with ``<owner>/<id>.json``; whoever changes one of an owner's collections holds the owner's lock."""

    def __init__(self, folder: Path, locks: Path) -> None:
        self._folder = folder
        self._locks = locks

    def all(self) -> Iterator[Collection]:
        """Walk all collections, each owner's in the order of their positions and titles."""
        owners = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        for owner in owners:
            yield from sorted(self._of(owner.name), key=lambda found: (found.position, found.title))

    def find(self, slug: str) -> Collection:
        """Return a collection by its slug, whatever its title was when the slug was written."""
        return self._read(self._path(slug))

    def create(self, collection: Collection) -> None:
        """Keep a new collection.

        Raises:
            RefusedError: 409 with the ``slug`` of the owner's collection that has this title.
        """
        with locked(self._lock(collection.owner)):
            for other in self._of(collection.owner):
                if other.title == collection.title:
                    raise conflict("You have a collection of this title already.", slug=other.slug)
            self._write(collection)

    @contextmanager
    def changing(self, slug: str) -> Iterator[Collection]:
        """Hold the owner's lock, lend the collection, and write it back; nothing is written when the body raises."""
        path = self._path(slug)
        with locked(self._lock(path.parent.name)):
            collection = self._read(path)
            yield collection
            collection.updated = now()
            self._write(collection)

    def delete(self, slug: str) -> None:
        """Delete a collection; what it lists stays."""
        path = self._path(slug)
        with locked(self._lock(path.parent.name)):
            self._read(path)
            path.unlink()

    def _of(self, owner: str) -> Iterator[Collection]:
        for path in sorted((self._folder / owner).glob("*.json")):
            try:
                yield self._read(path)
            except RefusedError:  # deleted since the folder was listed
                continue

    def _path(self, slug: str) -> Path:
        found = _SLUG.fullmatch(slug)
        if not found:
            raise collection_not_found()
        return self._folder / _checked_owner(found[1]) / f"{found[2]}.json"

    def _read(self, path: Path) -> Collection:
        try:
            return Collection.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise collection_not_found() from None

    def _write(self, collection: Collection) -> None:
        path = self._folder / _checked_owner(collection.owner) / f"{collection.id}.json"
        write_atomically(path, collection.model_dump_json().encode())

    def _lock(self, owner: str) -> Path:
        return self._locks / _checked_owner(owner)


def _checked_owner(owner: str) -> str:
    return checked_repo_id(owner, "any").partition("/")[0]
