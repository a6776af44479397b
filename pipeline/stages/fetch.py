"""Fetch: the source's files that ``from_pretrained`` reads, each proven against the digest its place lists."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline.checkpoint.layout import Folder
from pipeline.errors import SourceError
from pipeline.events import Event, Listener
from pipeline.files import ListedFile, digest_of
from pipeline.hub.source import PARTS, Repository
from pipeline.store import Store


def fetch(place: Repository | Folder, files: Mapping[str, ListedFile], store: Store, listen: Listener) -> Path:
    """Return a folder with these files of the source; those of a folder are used where they lie.

    Args:
        place: The source.
        files: What is wanted of it.
        store: Where downloads are kept.
        listen: Hears of progress in bytes.

    Raises:
        SourceError: A file is not what its place says.
        HubUnavailableError: The Hub does not answer; what came so far is kept.
    """
    if isinstance(place, Folder):
        changed = [name for name, file in files.items() if not file.describes(place.path / name)]
        if changed:
            raise SourceError(f"{changed[0]} changed while it was used.", where=place.where, remedy="Run again.")
        return place.path
    key = digest_of({name: file.model_dump(mode="json") for name, file in files.items()})
    return store.make("fetch", key, lambda folder: download(place, files, folder, listen), resume=True)


def download(place: Repository, files: Mapping[str, ListedFile], folder: Path, listen: Listener) -> None:
    """Fill a folder from the Hub; what an interrupted run left is kept."""
    done, total = 0, sum(file.size for file in files.values())

    def heard(read: int) -> None:
        listen(Event("progress", "fetch", place.repo, "", done + read, total, "B"))

    for name, file in files.items():
        place.download(name, folder, heard)
        done += file.size
        heard(0)
    shutil.rmtree(folder / PARTS, ignore_errors=True)
