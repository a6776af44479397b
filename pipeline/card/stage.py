"""Card: the README, its pictures and the publish/ folder of a repository, made from plan and report alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from pipeline.backends.available import has_gpu
from pipeline.card.allowed_numbers import AllowedNumbers
from pipeline.card.audit import UnsupportedNumber, require_true, untrue
from pipeline.card.context import facts, shown, words
from pipeline.card.metadata import SourceCard, metadata
from pipeline.card.provenance import state
from pipeline.card.render import CARD_SUFFIX, PACKAGED, as_text, render, templates
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
from pipeline.hub.release_files import CARD, MANIFEST, MEDIAN, PLAN, PROVENANCE, QUESTIONS, RECIPE, REPORT, USAGE, WORST
from pipeline.plan.model import TargetPlan
from pipeline.quantize.build import MEASURED, measured
from pipeline.source.model_card import front_matter
from pipeline.store import Store
from pipeline.tasks import TASKS
from pipeline.validate import Report
from pipeline.validate.prompts import questions_folder
from pipeline.validate.stage import Judged

if TYPE_CHECKING:
    from jinja2 import BaseLoader

__all__ = ["SourceCard", "as_text", "compose", "reread", "snippet_runs_here", "templates", "write_card"]


@dataclass(frozen=True)
class Card:
    """A card as text, and the snippet in it."""

    text: str
    usage: str


def compose(
    plan: TargetPlan, report: Report, source: SourceCard, *, executed: bool, loader: BaseLoader = PACKAGED
) -> Card:
    """Write a card, and hold every number in it against plan and report.

    Args:
        plan: The target's plan.
        report: What was measured.
        source: What the source's card says.
        executed: Whether the snippet is run before the release.
        loader: Where the templates come from.

    Raises:
        CardError: A template has no value for a variable or cannot be rendered, or shows a number of its own.
    """
    values = facts(plan, report, source, executed=executed)
    usage = render(TASKS[plan.task].usage, values, loader)
    body = render(f"{plan.template}{CARD_SUFFIX}", {**values, "usage": usage}, loader)
    text = f"---\n{metadata(plan, report, source)}---\n{body}"
    require_true(text, known(plan, report, [usage, *words(values)]))
    return Card(text, usage)


def reread(text: str, plan: TargetPlan, report: Report, repeated: Sequence[str]) -> list[UnsupportedNumber]:
    """Hold a card that was published against its plan and report, and return the numbers that nothing supports.

    Args:
        text: The README.
        plan: The plan.
        report: The report.
        repeated: What it has from elsewhere: its snippet, and why a tag was withdrawn.

    Raises:
        SourceError: Its metadata cannot be read.
        CardError: The report has no numbers for a card.
    """
    values = facts(plan, report, SourceCard(front_matter(text.encode(), CARD)), executed=True)
    return untrue(text, known(plan, report, [*repeated, *words(values)]))


def known(plan: TargetPlan, report: Report, repeated: Sequence[str]) -> AllowedNumbers:
    """Return what the card of a plan and a report may say, and repeat."""
    return AllowedNumbers(plan.model_dump(mode="json"), report.model_dump(mode="json"), repeated)


def write_card(
    plan: TargetPlan, checkpoint: Path, judged: Judged, source: SourceCard, recipe: bytes, store: Store
) -> Path:
    """Return the whole folder that a release uploads: the checkpoint with card, pictures, report and manifest.

    Raises:
        CardError: The card cannot be rendered truthfully.
    """

    def build(folder: Path) -> None:
        for path in files_under(checkpoint):
            if path != checkpoint / MEASURED:
                link_or_copy(path, folder / path.relative_to(checkpoint))
        draw(judged, folder)
        card = compose(plan, judged.report, source, executed=snippet_runs_here(plan))
        if questions := questions_folder(plan.validation, store):
            for path in files_under(questions):
                link_or_copy(path, folder / QUESTIONS / path.name)
        write_atomically(folder / CARD, card.text.encode())
        write_atomically(folder / USAGE, card.usage.encode())
        write_atomically(folder / RECIPE, recipe)
        write_atomically(folder / PLAN, pretty_json(plan.model_dump(mode="json")))
        weights, made = proven(plan, checkpoint)
        report = judged.report.model_dump(mode="json") | {"usage": usage_note(plan), "weights": weights}
        write_atomically(folder / REPORT, pretty_json(report))
        describe(folder, report, made | taken_over(plan, folder))

    return store.make("release", release_key(plan, judged, recipe), build)


def release_key(plan: TargetPlan, judged: Judged, recipe: bytes) -> str:
    """Return the digest of what the folder of a release depends on."""
    return digest_of([plan.content_digest, hashlib.sha256(recipe).hexdigest(), judged.report.model_dump(mode="json")])


def proven(plan: TargetPlan, checkpoint: Path) -> tuple[dict[str, Any], dict[str, FileEntry]]:
    """Return what was measured on a checkpoint, its files by the SHA-256 that consumers know them by, and those files.

    What the writer hashed as it wrote (BLAKE3) is held against what the disk gives back, in the reading that a
    release's SHA-256 takes: so a published digest is that of the bytes that were made.

    Raises:
        QuantizationError: A file is not what was written.
    """
    found = measured(checkpoint)
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


def snippet_runs_here(plan: TargetPlan) -> bool:
    """Return whether this machine can run the card's snippet: diffusers refuses bitsandbytes without a GPU."""
    needs_gpu = any(part.quantization.backend == "bitsandbytes" for part in plan.components.values())
    return has_gpu() or not needs_gpu


def usage_note(plan: TargetPlan) -> str:
    """Return what the report says of the snippet."""
    if snippet_runs_here(plan):
        return "The card's snippet was run against the staged commit before it was merged."
    return "The card's snippet was not run: no device here can. The staged commit was loaded as validation loaded it."
