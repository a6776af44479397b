"""Sourcing: whether a source's weights are stored before they are quantized, or read from the Hub as they are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import CannotHereError
from pipeline.events import Event, Listener
from pipeline.files import ListedFile, human_size
from pipeline.hub.client import Gate
from pipeline.hub.source import Repository
from pipeline.plan.model import ResolvedComponent, TargetPlan
from pipeline.quantize.build import Origin, streamed_files
from pipeline.quantize.room import CHECKPOINT, result_to_come, source_to_come
from pipeline.source.fetch import FETCH, fetch, fetch_key, stored
from pipeline.source.layout import Folder, Layout
from pipeline.store import Store


@dataclass(frozen=True)
class Sourcing:
    """How a source comes to this machine.

    Attributes:
        place: The source.
        layout: Its components.
        store: Where downloads are kept.
        home: The folder whose disk has to hold them.
        listen: Hears what is decided, and progress.
        stream: Whether weights on a Hub are never stored, though the disk could hold them.
    """

    place: Repository | Folder
    layout: Layout
    store: Store
    home: Path
    listen: Listener
    stream: bool = False

    def origin(
        self,
        plans: Sequence[TargetPlan],
        asked: Sequence[Mapping[str, ResolvedComponent]],
        *,
        quantized: bool,
        asks: bool,
    ) -> Origin:
        """Return where the bytes come from, with everything fetched that is not streamed.

        Weights that every target quantizes are hashed while they are read, so that nothing else has to look at them
        before; those that are streamed are never stored at all.

        Args:
            plans: The targets, which share the source.
            asked: For each target, what is known of the components that it quantizes.
            quantized: Whether anything is made of it now.
            asks: Whether the source itself has to answer prompts after that.

        Raises:
            SourceError: A file is not what its place says.
            HubUnavailableError: The Hub does not answer.
            CannotHereError: The source must be asked, and there is no room for all of it.
        """
        files = plans[0].files
        used = set.intersection(*(streamed_files(parts) for parts in asked))
        unused = {name: file for name, file in files.items() if name not in used}
        if isinstance(self.place, Folder):
            return Origin(fetch(self.place, unused, self.store, self.listen), files, self.layout, self.place.where)
        if quantized and not asks and all(self.store.look(CHECKPOINT, plan.build_key) for plan in plans):
            nowhere = self.store.unfinished(FETCH, fetch_key(files))  # nobody looks into it
            return Origin(nowhere, files, self.layout, self.place.where)
        streams = quantized and self.streams(plans, unused, asks=asks)
        beside = self.store.look(FETCH, fetch_key(unused))
        folder = fetch(self.place, unused if streams else files, self.store, self.listen, beside)
        opens = self.place.open if streams else None
        return Origin(folder, files, self.layout, self.place.where, opens, stored(folder))

    def streams(self, plans: Sequence[TargetPlan], unused: Mapping[str, ListedFile], *, asks: bool) -> bool:
        """Return whether weights come from the Hub as they are read: as asked, or because the disk is too small.

        Args:
            plans: The targets.
            unused: The files that are stored even so.
            asks: Whether the source itself has to answer prompts after that.

        Raises:
            CannotHereError: It has, and there is no room for all of it beside a result.
        """
        files, free = plans[0].files, self.store.room()
        source = source_to_come(self.place, files, self.store, unused)
        results = [result_to_come(plan, self.store) for plan in plans]
        if not source:
            return False
        if asks and source + min(results) > free:
            raise self.too_small(source, free)
        if self.stream or asks or source + sum(results) <= free:
            return self.stream
        left = source_to_come(self.place, unused, self.store, unused)
        if left + min(results) <= free:
            self.listen(Event("note", FETCH, "", f"streams the source: the disk has {human_size(free)} left"))
            return True
        return False

    def too_small(self, source: int, free: int) -> CannotHereError:
        """Return the error for a disk that would hold the result, and not what it is judged by."""
        return CannotHereError(
            f"To judge the result the source itself must answer the prompts, and its {human_size(source)} that are "
            f"still to come do not fit beside the result: the disk has {human_size(free)} left.",
            where=str(self.home),
            remedy="Free some room, with `publish clean` or else; or end with --stop-after quantize, which streams the "
            "source; or put the answers of a machine that has room, its folder store/reference, into this home.",
        )


def gate_of(place: Repository | Folder) -> Gate | None:
    """Return how the source is gated."""
    return place.hub.gate(place.repo) if isinstance(place, Repository) else None
