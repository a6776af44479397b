"""Sourcing: whether a source's weights are stored before they are quantized, or read from the Hub as they are used."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.checkpoint.layout import Folder, Layout
from pipeline.errors import CannotHereError
from pipeline.events import Event, Listener
from pipeline.files import disk_errors, human_size
from pipeline.hub.client import Gate
from pipeline.hub.source import Repository
from pipeline.plan import Asked, TargetPlan
from pipeline.stages.fetch import fetch, stored
from pipeline.stages.quantize import Origin
from pipeline.stages.uses import Next
from pipeline.stages.validate import reference_answers, request_of
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
        self, plans: Sequence[TargetPlan], asked: Sequence[Mapping[str, Asked]], *, quantized: bool, judged: bool
    ) -> Origin:
        """Return where the bytes come from, with everything fetched that is not streamed.

        Weights that every target quantizes are hashed while they are read, so that nothing else has to look at them
        before; those that are streamed are never stored at all.

        Args:
            plans: The targets, which share the source.
            asked: For each target, what is known of the components that it quantizes.
            quantized: Whether anything is made of it now.
            judged: Whether that is judged now.

        Raises:
            SourceError: A file is not what its place says.
            HubUnavailableError: The Hub does not answer.
            CannotHereError: The source must be asked, and there is no room for all of it.
        """
        files = plans[0].files
        used = set.intersection(*({file for part in parts.values() for file in part.slots} for parts in asked))
        opens = None
        if isinstance(self.place, Repository):
            opens = self.place.open if quantized and self.streams(plans) else None
            used = used if opens else set()
            if opens and judged:
                self.require_reference(plans)
        wanted = {name: file for name, file in files.items() if name not in used}
        folder = fetch(self.place, wanted, self.store, self.listen)
        known = stored(folder) if isinstance(self.place, Repository) else {}
        return Origin(folder, files, self.layout, self.place.where, opens, known)

    def streams(self, plans: Sequence[TargetPlan]) -> bool:
        """Return whether weights come from the Hub as they are read: as asked, or because the disk is too small."""
        if self.stream:
            return True
        free = self.free()
        results = sum(plan.result_bytes for plan in plans)
        missing = plans[0].source_bytes + results > free
        if missing and results < free:
            self.listen(Event("note", "fetch", "", f"streams the source: the disk has {human_size(free)} left"))
            return True
        return False

    def require_reference(self, plans: Sequence[TargetPlan]) -> None:
        """Refuse to stream for hours what could not be judged in the end.

        Raises:
            CannotHereError: The source must be asked, and there is no room for all of it.
        """
        if all(self.was_asked(plan) for plan in plans):
            return
        size, left = plans[0].source_bytes, self.free() - sum(plan.result_bytes for plan in plans)
        if left < size:
            raise CannotHereError(
                f"The weights are streamed, but to judge the result the source itself must answer the prompts, and "
                f"its {human_size(size)} do not fit beside the result: the disk has {human_size(self.free())} left.",
                where=str(self.home),
                remedy="End with --stop-after quantize; or put the answers of a machine that has room, its folder "
                "store/reference, into this home.",
            )

    def was_asked(self, plan: TargetPlan) -> bool:
        """Return whether nothing of a plan needs the source's own answers any more."""
        following = Next(plan, (), request_of(plan), self.store, self.listen)
        return reference_answers(plan, self.store) is not None and following.source_is_known()

    def free(self) -> int:
        """Return the bytes that are left on the disk of the home."""
        with disk_errors(self.home):
            self.home.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.home).free


def gate_of(place: Repository | Folder) -> Gate | None:
    """Return how the source is gated."""
    return place.hub.gate(place.repo) if isinstance(place, Repository) else None
