"""Fetch: the source's files that ``from_pretrained`` reads, each proven against the digest its place lists."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pipeline.errors import SourceError
from pipeline.events import Event, Listener
from pipeline.files import ListedFile, digest_of, link_or_copy, pretty_json, write_atomically
from pipeline.hub.source import PARTS, Repository
from pipeline.source.layout import Folder
from pipeline.store import Store

FETCH: Final = "fetch"
DIGESTS: Final = ".blake3.json"


def fetch(
    place: Repository | Folder,
    files: Mapping[str, ListedFile],
    store: Store,
    listen: Listener,
    beside: Path | None = None,
) -> Path:
    """Return a folder with these files of the source; those of a folder are used where they lie.

    Args:
        place: The source.
        files: What is wanted of it.
        store: Where downloads are kept.
        listen: Hears of progress in bytes.
        beside: Where other files of the same source were fetched; what is there does not come again.

    Raises:
        SourceError: A file is not what its place says.
        HubUnavailableError: The Hub does not answer; what came so far is kept.
    """
    if isinstance(place, Folder):
        changed = [name for name, file in files.items() if not file.describes(place.path / name)]
        if changed:
            raise SourceError(f"{changed[0]} changed while it was used.", where=place.where, remedy="Run again.")
        return place.path

    def build(folder: Path) -> None:
        for name in files:
            if beside is not None and (beside / name).is_file() and not (folder / name).exists():
                link_or_copy(beside / name, folder / name)
        download(place, files, folder, listen)

    return store.make(FETCH, fetch_key(files), build, resume=True)


def fetch_key(files: Mapping[str, ListedFile]) -> str:
    """Return the digest by which files that were fetched are known again."""
    return digest_of({name: file.model_dump(mode="json") for name, file in files.items()})


def download(place: Repository, files: Mapping[str, ListedFile], folder: Path, listen: Listener) -> None:
    """Fill a folder from the Hub; what an interrupted run left is kept."""
    done, total, digests = 0, sum(file.size for file in files.values()), {}

    def heard(read: int) -> None:
        listen(Event("progress", "fetch", place.repo, "", done + read, total, "B"))

    for name, file in files.items():
        digests[name] = place.download(name, folder, heard)
        done += file.size
        heard(0)
    write_atomically(folder / DIGESTS, pretty_json(digests))
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def stored(folder: Path) -> dict[str, ListedFile]:
    """Return the files of a fetched folder by the BLAKE3 that they had when their download was proven.

    Whoever reads them again on this machine holds them against that, which is faster than what the Hub lists.
    """
    try:
        digests = dict(json.loads((folder / DIGESTS).read_bytes()))
    except (OSError, ValueError, TypeError):  # what the Hub lists holds them then
        return {}
    return {name: ListedFile(size=(folder / name).stat().st_size, blake3=digest) for name, digest in digests.items()}
