"""Card: the README, its pictures and the publish/ folder of a repository, made from plan and report alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blake3 import blake3

from pipeline.backends.available import has_gpu
from pipeline.card.compose import USAGE_NOTES, compose_published, judged_in
from pipeline.card.context import loaders_of, shown
from pipeline.card.provenance import state
from pipeline.errors import CardError, QuantizationError, SourceError
from pipeline.files import (
    BuiltFile,
    FileEntry,
    Manifest,
    digest_of,
    files_under,
    hashed,
    link_or_copy,
    manifest_of,
    pretty_json,
    write_atomically,
)
from pipeline.hub.release_files import (
    CARD,
    MANIFEST,
    MEDIAN,
    PAGE,
    PLAN,
    PROVENANCE,
    QUESTIONS,
    RECIPE,
    REPORT,
    USAGE,
    WORST,
)
from pipeline.locks import temporary_in
from pipeline.plan.model import TargetPlan
from pipeline.plan.questions import questions_folder, request_of
from pipeline.quantize.build import MEASURED, measured
from pipeline.store import Store
from pipeline.tasks import TASKS
from pipeline.validate.browser.asking import run_page
from pipeline.validate.browser.scripts import scripts
from pipeline.validate.stage import Judged


@dataclass(frozen=True)
class Edition:
    """One edition of a target, made and judged.

    Attributes:
        plan: Its plan, which has one artifact of each component.
        checkpoint: What was made.
        judged: What was measured on it.
    """

    plan: TargetPlan
    checkpoint: Path
    judged: Judged


def write_card(plan: TargetPlan, editions: Sequence[Edition], source_page: str, recipe: bytes, store: Store) -> Path:
    """Return the whole folder that a release uploads: the checkpoint with card, pictures, report and manifest.

    Args:
        plan: The target's plan.
        editions: What was made and measured, the first whole, of the others the artifact that lies beside it.
        source_page: The source's page on its Hub; empty for a folder.
        recipe: The recipe as it is published.
        store: Where the folder is kept.

    Raises:
        CardError: The card cannot be rendered truthfully.
    """
    first, *others = editions
    checkpoint, judged = first.checkpoint, first.judged

    def build(folder: Path) -> None:
        for path in files_under(checkpoint):
            if path != checkpoint / MEASURED:
                link_or_copy(path, folder / path.relative_to(checkpoint))
        if questions := questions_folder(plan.validation, store):
            for path in files_under(questions):
                link_or_copy(path, folder / QUESTIONS / path.name)
        weights, made = proven(plan, checkpoint)
        besides: dict[str, Any] = {"source_page": source_page, "usage": usage_note(first.plan), "weights": weights}
        if others:
            besides["further"] = []
        for (name, _), other in zip(plan.beside, others, strict=True):
            found, files = proven(plan, other.checkpoint, name)
            for file in files:
                link_or_copy(other.checkpoint / file, folder / file)
            told = {"weights": found, "usage": usage_note(other.plan)}
            besides["further"].append(other.judged.report.model_dump(mode="json") | told)
            made |= files
        write_atomically(folder / RECIPE, recipe)
        write_atomically(folder / PLAN, pretty_json(plan.model_dump(mode="json")))
        write_atomically(folder / REPORT, pretty_json(judged.report.model_dump(mode="json") | besides))
        # From here on they are what whoever reads them has, whose keys are in another order than those of this process.
        report = json.loads((folder / REPORT).read_bytes())
        card = compose_published(TargetPlan.model_validate_json((folder / PLAN).read_bytes()), report)
        write_atomically(folder / CARD, card.text.encode())
        for name, usage in {USAGE: card.usage, **card.further}.items():
            write_atomically(folder / name, usage.encode())
        if card.page:
            write_atomically(folder / PAGE, card.page.encode())
            show_page(plan, card.page, checkpoint, store)
        draw(replace(judged, report=judged_in(report)), folder)
        describe(folder, report, made | taken_over(plan, folder))

    return store.make("release", release_key(plan, editions, recipe), build)


def show_page(plan: TargetPlan, page: str, checkpoint: Path, store: Store) -> None:
    """Have a browser show the page of a card until it has an answer.

    Raises:
        CardError: It raises something instead.
        CannotHereError: There is no browser.
    """
    with temporary_in(store.root, "page") as out:
        request = request_of(plan, questions_folder(plan.validation, store))
        shown = run_page(page, checkpoint, plan.repository, request, scripts(store), out)
    if shown.failure:
        raise CardError(f"The page of the card does not answer in {shown.browser}: {shown.failure}", where=PAGE)


def release_key(plan: TargetPlan, editions: Sequence[Edition], recipe: bytes) -> str:
    """Return the digest of what the folder of a release depends on."""
    reports = [edition.judged.report.model_dump(mode="json") for edition in editions]
    return digest_of([plan.content_digest, hashlib.sha256(recipe).hexdigest(), *reports])


def proven(
    plan: TargetPlan, checkpoint: Path, component: str = ""
) -> tuple[dict[str, Any], dict[str, FileEntry]]:  # fmt: skip
    """Return what was measured on a checkpoint, its files by the SHA-256 that consumers know them by, and those files.

    What the writer hashed as it wrote (BLAKE3) is held against what the disk gives back, in the reading that a
    release's SHA-256 takes: so a published digest is that of the bytes that were made.

    Args:
        plan: The target's plan.
        checkpoint: The checkpoint.
        component: The only component whose files are published of it; all where none is named.

    Raises:
        QuantizationError: A file is not what was written.
    """
    found = {name: made for name, made in measured(checkpoint).items() if component in {"", name}}
    known: dict[str, FileEntry] = {}
    for part, made in found.items():
        for name, file in made["files"].items():
            path = checkpoint / plan.path_of(part, name)
            sha256, told = hashed(path, hashlib.sha256(), blake3())
            if BuiltFile(size=path.stat().st_size, blake3=told) != BuiltFile(**file):
                raise QuantizationError(
                    "This file is not what was written when the checkpoint was made.",
                    where=str(path),
                    remedy=f"The disk may be failing, or somebody changed it: remove {checkpoint} and run again.",
                )
            known[plan.path_of(part, name)] = FileEntry(size=file["size"], sha256=sha256)
    listed = {
        part: made | {"files": {name: known[plan.path_of(part, name)].model_dump() for name in made["files"]}}
        for part, made in found.items()
    }
    return listed, known


def taken_over(plan: TargetPlan, folder: Path) -> dict[str, FileEntry]:
    """Return the files of the source that a release has as they are, each held against what the plan lists.

    Raises:
        SourceError: One is another file by now than the one that was planned and judged.
    """
    known = {}
    for name, listed in plan.taken_over.items():
        path = folder / name
        sha256, found = hashed(path, hashlib.sha256(), listed.hashing())
        if (path.stat().st_size, found) != (listed.size, listed.digest or found):
            store = folder.parents[1]
            raise SourceError(
                "This file of the source is not the one that was planned: it changed since, or the disk damaged it.",
                where=f"{plan.source.where}/{name}",
                remedy=f"Remove {store / 'checkpoint' / plan.build_key} and, where it came from a Hub, the download in "
                f"{store / 'fetch'}; then run again.",
            )
        known[name] = FileEntry(size=listed.size, sha256=sha256)
    return known


def require_taken(folder: Path, where: str, errors_of: Callable[[str], list[str]]) -> None:
    """Refuse a card whose metadata the Hub would refuse, before any byte goes there.

    Args:
        folder: What a release uploads.
        where: The repository.
        errors_of: Returns what is wrong with a card.

    Raises:
        CardError: Something is.
    """
    if errors := errors_of((folder / CARD).read_text()):
        raise CardError(
            f"The Hub refuses the metadata of the card: {'; '.join(errors)}.",
            where=f"{where}/{CARD}",
            remedy="Most of it repeats the source's card: correct it there, pin that commit, and run again.",
        )


def describe(folder: Path, report: dict[str, Any], known: Mapping[str, FileEntry] | None = None) -> None:
    """Write what a consumer verifies a release by: the statement of where it comes from, and the list of its files."""
    built = manifest_of(folder, known)
    plan = json.loads((folder / PLAN).read_bytes())
    content = pretty_json(state(built, plan, report).model_dump(mode="json"))
    write_atomically(folder / PROVENANCE, content)
    stated = FileEntry(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    manifest = Manifest(files=dict(sorted({**built.files, PROVENANCE: stated}.items())))
    write_atomically(folder / MANIFEST, pretty_json(manifest.model_dump(mode="json")))


def draw(judged: Judged, folder: Path) -> None:
    """Draw the source's answer beside the candidate's, for the worst and for the median pair, where that shows much."""
    chosen, beside = shown(judged.report), TASKS[judged.report.task].medium.beside
    for pair, name in ((chosen.worst, WORST), (chosen.median, MEDIAN)):
        if pair is not None and beside is not None:
            beside(judged.reference / pair.reference, judged.candidate / pair.candidate, folder / name)


def snippet_runs_here(edition: TargetPlan) -> bool:
    """Return whether this machine can run an edition's snippet: what it loads may want a GPU."""
    return has_gpu() or all("cpu" in loader.devices for loader in loaders_of(edition))


def snippets_promised(folder: Path) -> list[bool]:
    """Return whether what a release says of the snippet of each edition is that it was run."""
    report = json.loads((folder / REPORT).read_bytes())
    return [USAGE_NOTES[one["usage"]] for one in (report, *report.get("further", ()))]


def usage_note(edition: TargetPlan) -> str:
    """Return what the report says of the snippet of an edition."""
    runs = snippet_runs_here(edition)
    return next(note for note, executed in USAGE_NOTES.items() if executed == runs)
