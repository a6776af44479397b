"""Sealed: what a target would release, handed from the machine that made it to the one that publishes it.

Whoever made it is not believed: its documents are held against each other, its files, the recipe at hand, and the card
and the snippet that they make, as `publish verify` does with what was published.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.backends import SCHEMES
from pipeline.backends.oracle.conversion import installed_versions
from pipeline.card.render import templates
from pipeline.errors import CannotHereError, RecipeError, VerdictError, VerificationError
from pipeline.files import disk_errors, files_under, link_or_copy, manifest_of, sha256_file
from pipeline.hub.release_files import MANIFEST, RECIPE, REPORT, WRITTEN
from pipeline.plan.model import TargetPlan
from pipeline.recipe import Loaded, Vocabulary
from pipeline.release.card_again import require_same
from pipeline.release.documents import Documents, measured_files
from pipeline.tasks import TASKS
from pipeline.validate import Report


@dataclass(frozen=True)
class Sealed:
    """What would be released of one target, proven to be what was sealed."""

    folder: Path
    plan: TargetPlan
    report: Report


def seal_into(folder: Path, to: Path) -> None:
    """Lay what would be released into a folder, in place of what an earlier run laid there.

    Weights are links where the disk allows it; what people open and edit is a copy, so that the store stays as it is.

    Raises:
        RecipeError: The folder has something else.
    """
    if to.is_symlink() or (to.exists() and not (to / MANIFEST).is_file()):
        remedy = "Name another folder with --seal, or move that away."
        raise RecipeError("Something that was not sealed lies where a target would.", where=str(to), remedy=remedy)
    with disk_errors(to):
        shutil.rmtree(to, ignore_errors=True)
        for path in files_under(folder):
            there = to / path.relative_to(folder)
            if path.suffix in {".safetensors", ".onnx", ".gguf"}:
                link_or_copy(path, there)
            else:
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, there)


def sealed_under(folder: Path, loaded: Loaded) -> tuple[str, ...]:
    """Return the targets of a recipe that lie sealed under a folder."""
    return tuple(name for name in loaded.recipe.targets if (folder / name / MANIFEST).is_file())


def sealing(loaded: Loaded, target: str, folder: Path) -> str:
    """Return the command that seals a target into a folder."""
    return f"publish run {loaded.path} --target {target} --stop-after card --seal {folder.parent}"


def sealed_in(folder: Path, target: str, loaded: Loaded, manifest: str = "") -> Sealed:
    """Return what was sealed of a target, after every byte of it and every word of its documents was looked at.

    Args:
        folder: Where it lies.
        target: The target.
        loaded: The recipe, of which it must have been made.
        manifest: The SHA-256 that its manifest must have, from whoever sealed it.

    Raises:
        CannotHereError: It is not there, or was sealed by another version of this program.
        VerificationError: It is not what was sealed, or its documents contradict each other.
        RecipeError: It was made of another recipe.
        VerdictError: It did not pass.
    """
    again = f"Make it with `{sealing(loaded, target, folder)}`."
    listing = folder / MANIFEST
    if not listing.is_file():
        if (folder.parent / MANIFEST).is_file():
            again = f"{folder.parent} is what was sealed of one target; name its parent, {folder.parent.parent}."
        raise CannotHereError(f"Nothing sealed of {target} is here to release.", where=str(folder), remedy=again)
    if manifest not in {"", sha256_file(listing)}:
        what = f"This manifest is not the one that was sealed, whose SHA-256 is {manifest}."
        raise VerificationError(what, where=str(listing), remedy=again)
    documents = Documents(folder, str(folder), Vocabulary(SCHEMES, frozenset(templates()), TASKS))
    try:
        plan = documents.plan
        require_listed(documents, folder, again)
        if (plan.target, plan.repository) != (target, loaded.recipe.repositories[target]):
            what = f"What is sealed here is not target {target} for {loaded.recipe.repositories[target]}."
            raise RecipeError(what, where=str(folder), remedy=again)
        if documents.content(RECIPE) != loaded.published:
            what = "What is sealed here was made of this recipe when it said something else."
            raise RecipeError(what, where=str(loaded.path), remedy=again)
        documents.recipe_fits(plan.repository, loaded)
        if documents.report.verdict != "PASS":
            what = f"What is sealed here was judged {documents.report.verdict}; nothing was published."
            raise VerdictError(what, where=str(folder), remedy=again)
        documents.report_fits()
        require_same_words(plan, again)
        require_same(documents, "")
        documents.provenance_fits()
    except VerificationError as error:
        raise VerificationError(error.what, where=error.where, remedy=again) from error
    return Sealed(folder, plan, documents.report)


def require_listed(documents: Documents, folder: Path, again: str) -> None:
    """Refuse a folder whose files are not those of its manifest, or of which some are no part of a release.

    Raises:
        VerificationError: With the first of them.
    """
    listed, there = documents.manifest.files, manifest_of(folder).files
    for name in sorted((listed.keys() | there.keys()) - {MANIFEST}):
        if listed.get(name) != there.get(name):
            what = "This file is missing, was added or was changed since it was sealed; nothing was published."
            raise VerificationError(what, where=str(folder / name), remedy=again)
    made = {*WRITTEN, *written(documents)}
    for name in sorted(listed.keys() - made):
        if not name.startswith(("publish/", "images/")):
            what = "This file is neither the source's nor one that a release writes; nothing was published."
            raise VerificationError(what, where=str(folder / name), remedy=again)


def written(documents: Documents) -> Iterator[str]:
    """Yield the paths of weights, their indices and configs, and of what is taken over from the source."""
    plan, weights = documents.plan, documents.read(REPORT, lambda: measured_files(documents.plan, documents.measured))
    yield from (*plan.taken_over, *weights)
    for name in documents.manifest.files:
        folder, _, file = name.rpartition("/")
        if folder in (plan.components if plan.is_pipeline else {""}) and file.endswith((".index.json", "config.json")):
            yield name


def require_same_words(plan: TargetPlan, again: str) -> None:
    """Refuse what another version of this program sealed: its card is in other words.

    Raises:
        CannotHereError: It did.
    """
    made, here = plan.versions.get("quantpress"), installed_versions(("quantpress",)).get("quantpress")
    if made != here or templates().get(plan.template) != plan.template_digest:
        what = f"It was sealed by quantpress {made} with templates of its own, and here is {here}."
        raise CannotHereError(what, where=plan.target, remedy=again)
