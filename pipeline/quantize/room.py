"""Room: the bytes that are still to come onto the disk of a store, and the refusal where it cannot hold them.

What is sealed takes nothing more, nor what an interrupted run left of a result, nor files that are linked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import CannotHereError
from pipeline.files import ListedFile, human_size
from pipeline.hub.source import Repository
from pipeline.plan.model import TargetPlan
from pipeline.source.fetch import FETCH, fetch_key
from pipeline.source.layout import Folder
from pipeline.store import Store

CHECKPOINT = "checkpoint"


def source_to_come(
    place: Repository | Folder, files: Mapping[str, ListedFile], store: Store, beside: Mapping[str, ListedFile]
) -> int:
    """Return the bytes that fetching a source still takes.

    Args:
        place: The source; one in a folder is used where it lies.
        files: What is wanted of it.
        store: Where downloads are kept.
        beside: Another choice of its files, which may have been fetched and is linked then.
    """
    if isinstance(place, Folder):
        return 0
    size = sum(file.size for file in files.values())
    if files.keys() != beside.keys() and store.look(FETCH, fetch_key(beside)):
        size -= sum(file.size for name, file in beside.items() if name in files)
    return store.to_come(FETCH, fetch_key(files), size)


def result_to_come(plan: TargetPlan, store: Store, folder: Path | None = None) -> int:
    """Return the bytes that a checkpoint still takes.

    Args:
        plan: Its plan.
        store: Where it is kept.
        folder: The folder of its source, from which files are copied where they cannot be linked; none where it is in
            the store.
    """
    copied = folder is not None and not same_disk(folder, store)
    quantized = sum(part.result_bytes for part in plan.components.values())
    return store.to_come(CHECKPOINT, plan.build_key, plan.result_bytes if copied else quantized)


def results_to_come(plans: Sequence[TargetPlan], store: Store, folder: Path | None = None) -> int:
    """Return the bytes that several checkpoints still take."""
    return sum({plan.build_key: result_to_come(plan, store, folder) for plan in plans}.values())


def same_disk(folder: Path, store: Store) -> bool:
    """Return whether files of a folder can be linked into results, which takes no room."""
    store.root.mkdir(parents=True, exist_ok=True)
    return folder.stat().st_dev == store.root.stat().st_dev


def require_room(size: int, store: Store) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        CannotHereError: There is less room than is still to come.
    """
    free = store.room()
    if free < size:
        raise CannotHereError(
            f"{human_size(size)} are still to be written and the disk has {human_size(free)} left.",
            where=str(store.root),
            remedy="Free some room, with `publish clean` or else, or give another folder with --home, then run the "
            "same command again: it continues.",
        )
