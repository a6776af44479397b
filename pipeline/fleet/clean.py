"""Clean: what a home holds, which recipes need it, and the removal of what none needs.

A recipe needs the weights of a target until that is published as it asks for it; what was asked and judged it needs as
long as it stands, for `publish report` shows that.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from pipeline.card.compose import snippet_of
from pipeline.errors import PublishError
from pipeline.hub.release_files import PLAN
from pipeline.hub.source import Repository
from pipeline.locks import TEMPORARY, Lock
from pipeline.plan.model import TargetPlan, read_plan
from pipeline.plan.questions import FILES, files_key, request_of
from pipeline.quantize.build import streamed_files
from pipeline.quantize.inputs import INPUTS, inputs_key
from pipeline.quantize.lora.fuse import FUSED, fused_key
from pipeline.quantize.room import CHECKPOINT
from pipeline.recipe import DatasetPrompts
from pipeline.run import PLAIN, Engine
from pipeline.source.fetch import FETCH, fetch_key
from pipeline.store import Store
from pipeline.tasks import TASKS
from pipeline.validate.browser.scripts import KEY, SCRIPTS
from pipeline.validate.follow_up import ADAPTED, USES, FollowUpChecks
from pipeline.validate.judges import read_by_judges
from pipeline.validate.prompts import STAGE, prompts_key
from pipeline.validate.stage import CANDIDATE, JUDGED, REFERENCE, candidate_key, failed_name, reference_key

FAILED: Final = "failed"
RELEASES: Final = ("release", "signed")
KILLED: Final = (TEMPORARY, "rebuild")  # folders in which nothing outlives the process that made it
STAGES: Final = (
    FETCH, PLAIN, FUSED, INPUTS, CHECKPOINT, FAILED, *RELEASES, REFERENCE, CANDIDATE, ADAPTED, USES, JUDGED, STAGE,
    FILES, SCRIPTS,
)  # fmt: skip
Named = tuple[str, str]
"""A stage and a key."""
Fate = Literal["needed", "kept", "used", "removed"]


class Holding(BaseModel):
    """One thing that a home holds.

    Attributes:
        kind: The stage that made it, or ``failed``.
        key: Its name there.
        size: Its bytes; those that are linked are counted where they are listed first.
        whole: Whether it is finished.
        needed_by: The targets that need it, as ``RECIPE: TARGET``.
        fate: What becomes of it: it is ``needed``, ``kept`` as asked, ``used`` by a running process, or ``removed``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    key: str
    size: int
    whole: bool = True
    needed_by: tuple[str, ...] = ()
    fate: Fate


class Cleaned(BaseModel):
    """What a home held.

    Attributes:
        holdings: By kind.
        freed: The bytes that the disk has again, or would have.
        dry_run: Whether nothing was removed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    holdings: tuple[Holding, ...]
    freed: int
    dry_run: bool


def clean(engines: Sequence[Engine], store: Store, *, keep_sources: bool = False, dry_run: bool = False) -> Cleaned:
    """Remove what no recipe needs, nor a running process; interrupted, it leaves nothing torn.

    Args:
        engines: The recipes, all of them with this store.
        store: The store of their home.
        keep_sources: Whether downloads stay, whoever needs them.
        dry_run: Whether it is only told what would be removed.

    Raises:
        PublishError: A recipe cannot be planned, so that nobody knows what it needs; nothing was removed.
    """
    needs, found = Needs.of(engines), []
    seen: set[int] = set()
    gone: list[os.stat_result] = []
    for stage, key, whole, path, files in [(*each, files_of(each[-1])) for each in held(store)]:
        needed_by = needs.of_path(stage, key, path)
        size = sum(file.st_size for file in files if file.st_ino not in seen)
        seen |= {file.st_ino for file in files}
        fate: Fate = "needed" if needed_by else "kept" if keep_sources and stage == FETCH else "removed"
        if fate == "removed":
            drop = store.drop if whole else store.drop_unfinished
            if store.in_use(stage, key) if dry_run else not drop(stage, key):
                fate = "used"
            else:
                gone += files
        found.append(Holding(kind=stage, key=key, size=size, whole=whole, needed_by=needed_by, fate=fate))
    left = sum(clear(store.root.parent, each, dry=dry_run) for each in KILLED)
    return Cleaned(holdings=tuple(found), freed=freed_by(gone) + left, dry_run=dry_run)


def freed_by(gone: Sequence[os.stat_result]) -> int:
    """Return the bytes that the disk has again when these files go: those of which no link is left."""
    links = Counter(file.st_ino for file in gone)
    return sum({file.st_ino: file.st_size for file in gone if links[file.st_ino] == file.st_nlink}.values())


def files_of(folder: Path) -> list[os.stat_result]:
    """Return what the disk says of every file under a folder."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # somebody else removes it as well
            found.append(path.lstat())
    return [state for state in found if not stat.S_ISDIR(state.st_mode)]


def held(store: Store) -> Iterator[tuple[str, str, bool, Path]]:
    """Yield what a store holds: the stage, the key, whether it is finished, and the folder."""
    for stage in STAGES:
        for path in sorted(store.root.glob(f"{stage}/*")):
            yield stage, path.name, True, path
        for path in sorted(store.aside.glob(f"{stage}-*")):
            yield stage, path.name.removeprefix(f"{stage}-"), False, path


@dataclass(frozen=True)
class Needs:
    """What recipes need.

    Attributes:
        named: The targets that need a result, by its stage and key.
        unpublished: The targets that are to be published, by the digest of their plan.
    """

    named: dict[Named, list[str]]
    unpublished: dict[str, list[str]]

    @classmethod
    def of(cls, engines: Sequence[Engine]) -> Needs:
        """Return what these recipes need.

        Raises:
            PublishError: One cannot be planned.
        """
        needs = cls({}, {})
        for engine in engines:
            try:
                needs.add(engine)
            except PublishError as error:
                what = f"{error.what} What {shown(engine)} needs is not known, so nothing was removed."
                raise type(error)(what, where=error.where, remedy=error.remedy) from error
        return needs

    def add(self, engine: Engine) -> None:
        """Add what a recipe needs."""
        for target in engine.prepare():
            plan, remote = engine.plan(target)
            who = f"{shown(engine)}: {target}"
            keys = [key for edition in plan.editions for key in evidence(engine, edition)]
            if not engine.earlier(plan, remote):
                keys += [key for edition in plan.editions for key in weights(engine, edition)]
                self.unpublished.setdefault(plan.content_digest, []).append(who)
            for key in keys:
                self.named.setdefault(key, []).append(who)

    def of_path(self, stage: str, key: str, path: Path) -> tuple[str, ...]:
        """Return who needs a result; a release is known by the plan in it."""
        if stage in RELEASES:
            plan = read_plan((path / PLAN).read_bytes()) if (path / PLAN).is_file() else None
            return tuple(self.unpublished.get(plan.content_digest, [])) if plan else ()
        return tuple(self.named.get((stage, key), []))


def shown(engine: Engine) -> str:
    """Return the path of a recipe from the working folder."""
    return os.path.relpath(engine.loaded.path)


def evidence(engine: Engine, plan: TargetPlan) -> Iterator[Named]:
    """Yield what was asked and judged of a target."""
    request = request_of(plan)
    following = FollowUpChecks(plan, engine.loras, request, engine.store, engine.listen, snippet_of(plan))
    yield REFERENCE, reference_key(plan, request)
    yield CANDIDATE, candidate_key(plan)
    yield JUDGED, plan.verdict_key
    yield USES, following.tried_key
    if plan.validation.browser:
        yield SCRIPTS, KEY
    yield from ((ADAPTED, following.key(lora)) for lora in plan.loaded)
    if isinstance(asked := engine.loaded.recipe.validation.prompts, DatasetPrompts):
        yield STAGE, prompts_key(asked, public=not plan.private, exact=TASKS[plan.task].form.exact)
    yield FILES, files_key(plan.validation)


def weights(engine: Engine, plan: TargetPlan) -> Iterator[Named]:
    """Yield what a target is made of and judged by, and what was made of it."""
    streamed = streamed_files(engine.asked(plan))
    yield FETCH, fetch_key(plan.files)
    yield FETCH, fetch_key({name: file for name, file in plan.files.items() if name not in streamed})
    yield PLAIN, fetch_key(plan.files)
    yield FUSED, fused_key(plan)
    yield from ((FETCH, fetch_key({lora.file: lora.listed})) for lora in plan.loras)
    judges = [place for place in engine.judges.places.values() if isinstance(place, Repository)]
    yield from ((FETCH, fetch_key(place.listed(read_by_judges(place)))) for place in judges)
    yield INPUTS, inputs_key(plan)
    yield CHECKPOINT, plan.build_key
    yield FAILED, failed_name(plan)


def clear(home: Path, name: str, *, dry: bool) -> int:
    """Remove what processes that were killed left in a folder of a home, and return how many bytes the disk has again.

    Args:
        home: The home.
        name: The folder, and the lock of those that use it.
        dry: Whether it is only counted.
    """
    folder = home / name
    if not folder.is_dir():
        return 0
    with Lock(home / "locks" / name) as lock:
        if not lock.try_alone():
            return 0
        size = freed_by(files_of(folder))
        if not dry:
            shutil.rmtree(folder, ignore_errors=True)
    return size
