"""Sealed: what a target would release, handed from the machine that made it to the one that publishes it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline.card.stage import judged_in
from pipeline.errors import CannotHereError, RecipeError, VerdictError, VerificationError
from pipeline.files import Manifest, disk_errors, files_under, sha256_file
from pipeline.hub.release_files import MANIFEST, PLAN, RECIPE, REPORT
from pipeline.plan.model import TargetPlan, read_plan
from pipeline.recipe import Loaded
from pipeline.store import link_all
from pipeline.validate import Report


@dataclass(frozen=True)
class Sealed:
    """What would be released of one target, proven to be what was sealed."""

    folder: Path
    plan: TargetPlan
    report: Report


def seal_into(folder: Path, to: Path) -> None:
    """Lay what would be released into a folder, in place of what an earlier run laid there."""
    with disk_errors(to):
        shutil.rmtree(to, ignore_errors=True)
        link_all(folder, to)


def sealed_in(folder: Path, target: str, loaded: Loaded, manifest: str = "") -> Sealed:
    """Return what was sealed of a target, after every byte of it was held against its manifest.

    Args:
        folder: Where it lies.
        target: The target.
        loaded: The recipe, of which it must have been made.
        manifest: The SHA-256 that its manifest must have, from whoever sealed it.

    Raises:
        CannotHereError: It is not there.
        VerificationError: It is not what was sealed.
        RecipeError: It was made of another recipe.
        VerdictError: It did not pass.
    """
    again = f"Make it with `publish run {loaded.path} --target {target} --stop-after card --seal {folder.parent}`."
    listing = folder / MANIFEST
    if not listing.is_file():
        raise CannotHereError(f"Nothing sealed of {target} is here to release.", where=str(folder), remedy=again)
    if manifest not in {"", sha256_file(listing)}:
        what = f"This manifest is not the one that was sealed, whose SHA-256 is {manifest}."
        raise VerificationError(what, where=str(listing), remedy=again)
    try:
        listed = Manifest.model_validate_json(listing.read_bytes()).files
    except ValidationError as error:
        raise VerificationError("This is no manifest.", where=str(listing), remedy=again) from error
    there = {path.relative_to(folder).as_posix(): path for path in files_under(folder) if path != listing}
    for name in sorted(listed.keys() | there.keys()):
        if name not in there or name not in listed or sha256_file(there[name]) != listed[name].sha256:
            what = "This file is missing, was added or was changed since it was sealed; nothing was published."
            raise VerificationError(what, where=str(folder / name), remedy=again)
    plan = read_plan((folder / PLAN).read_bytes())
    repository = loaded.recipe.repositories[target]
    if plan is None or (plan.target, plan.repository) != (target, repository):
        what = f"What is sealed here is not target {target} for {repository}."
        raise RecipeError(what, where=str(folder), remedy=again)
    if (folder / RECIPE).read_bytes() != loaded.published:
        what = "What is sealed here was made of this recipe when it said something else."
        raise RecipeError(what, where=str(loaded.path), remedy=again)
    report = judged_in(json.loads((folder / REPORT).read_bytes()))
    if report.verdict != "PASS":
        what = f"What is sealed here was judged {report.verdict}; nothing was published."
        raise VerdictError(what, where=str(folder), remedy=again)
    return Sealed(folder, plan, report)
