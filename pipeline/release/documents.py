"""What a release says of itself in ``publish/``: read, and held against each other and against its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from pipeline.card.compose import judged_in
from pipeline.card.provenance import Statement, dependencies, subjects
from pipeline.errors import RecipeError, VerificationError
from pipeline.files import FileEntry, Manifest, digest_of
from pipeline.hub.release_files import MANIFEST, PLAN, PROVENANCE, RECIPE, REPORT
from pipeline.plan.comparison import differences
from pipeline.plan.model import TargetPlan
from pipeline.recipe import Loaded, Prompt, Recipe, Vocabulary, read_prompts, read_recipe
from pipeline.tasks import TASKS
from pipeline.validate import Report

ASK: Final = "Ask its publisher, and do not use it until then."
Read = TypeVar("Read")


@dataclass(frozen=True)
class Documents:
    """The documents of one release, whose bytes were proven before.

    Attributes:
        folder: They lie in its ``publish/``.
        where: How the release is named in messages.
        vocabulary: The words of recipes.
    """

    folder: Path
    where: str
    vocabulary: Vocabulary

    @cached_property
    def manifest(self) -> Manifest:
        """Every file that was built."""
        return self.read(MANIFEST, lambda: Manifest.model_validate_json(self.content(MANIFEST)))

    @cached_property
    def plan(self) -> TargetPlan:
        """What was planned."""
        return self.read(PLAN, lambda: TargetPlan.model_validate_json(self.content(PLAN)))

    @cached_property
    def recipe(self) -> Recipe:
        """What it was made of."""
        return self.read(RECIPE, lambda: read_recipe(self.content(RECIPE), RECIPE, self.vocabulary))

    @cached_property
    def report(self) -> Report:
        """What was measured."""
        return self.read(REPORT, lambda: judged_in(self.measured))

    @cached_property
    def further(self) -> list[Report]:
        """What was measured with each further artifact; there is one for each of the plan's."""
        found = self.read(REPORT, lambda: [judged_in(one) for one in self.measured.get("further", ())])
        if len(found) != len(self.plan.beside):
            raise self.differs(
                f"{REPORT} judges {len(found)} further artifacts, and {PLAN} has {len(self.plan.beside)}."
            )
        return found

    @cached_property
    def measured(self) -> dict[str, Any]:
        """What was measured, with the weights it was measured on."""
        return self.read(REPORT, lambda: dict(self.json(REPORT)))

    def content(self, name: str) -> bytes:
        """Return the bytes of a document."""
        return (self.folder / name).read_bytes()

    def json(self, name: str) -> Any:
        """Return the content of a JSON file.

        Raises:
            ValueError: It is no JSON.
        """
        return json.loads(self.content(name))

    def read(self, name: str, reading: Callable[[], Read]) -> Read:
        """Read a document.

        Raises:
            VerificationError: It cannot be read by this version.
        """
        try:
            return reading()
        except (ValidationError, ValueError, KeyError, TypeError, AttributeError, RecursionError, RecipeError) as error:
            reason = " ".join(str(error).split())[:300].rstrip(".")
            what = printable(f"{name} cannot be read by this version of quantpress: {reason}.")
            raise VerificationError(what, where=self.where, remedy="Try the newest version.") from error

    def manifest_fits(self, served: Mapping[str, FileEntry]) -> str:
        """Check every file that is served against the manifest.

        Raises:
            VerificationError: With the first file, by name, that is another, missing or too many.
        """
        for name in sorted(served.keys() | self.manifest.files.keys()):
            found, listed = served.get(name), self.manifest.files.get(name)
            if found != listed:
                what = f"{MANIFEST} lists {name} {in_words(listed)}, and the Hub serves it {in_words(found)}."
                raise self.differs(what)
        return f"{len(served)} files are those that were built"

    def recipe_fits(self, repo: str, local: Loaded | None = None) -> str:
        """Check that the plan did what the published recipe says, and what a local one says.

        Raises:
            VerificationError: With the first word in which they differ.
        """
        self.require_planned(self.recipe, RECIPE)
        if local is not None:
            written = local.recipe.validation.prompts
            form = TASKS[local.recipe.task].form
            prompts = read_prompts(local.resolve(written), form) if isinstance(written, str) else None
            changed = f"If it changed since, `publish run {local.path}` publishes what it says now; else a{ASK[1:]}"
            self.require_planned(local.recipe, str(local.path), prompts, changed)
        name = self.plan.repository
        return f"it is the target {self.plan.target} of its recipe" + (f", made for {name}" if name != repo else "")

    def require_planned(
        self, recipe: Recipe, name: str, prompts: Sequence[Prompt] | None = None, remedy: str = ASK
    ) -> None:
        """Compare what a recipe says of the target with what was planned."""
        plan = self.plan
        if plan.target not in recipe.targets:
            raise self.differs(f"{name} has no target {plan.target!r}.", remedy)
        if found := differences(recipe, plan.target, plan, prompts):
            word, said, done = found[0].word, found[0].recipe, found[0].plan
            if word == "prompts" and prompts is not None:
                raise self.differs(f"The prompts of {name} are not those of {PLAN}.", remedy)
            raise self.differs(f"{PLAN} has {word} {done!r}, and {name} says {said!r}.", remedy)

    def report_fits(self) -> str:
        """Check that the verdict is PASS, that it was given on these weights, and that the rest is the source's.

        Raises:
            VerificationError: It is not.
        """
        report = self.report
        for each in (report, *self.further):
            if each.verdict != "PASS":
                raise self.differs(f"{REPORT} gives the verdict {each.verdict}.")
        for name, file in self.read(REPORT, lambda: measured_files(self.plan, self.measured)).items():
            if self.manifest.files.get(name) != file:
                raise self.differs(f"{REPORT} measured another {name} than {MANIFEST} lists.")
        for name, listed in self.plan.taken_over.items():
            there = self.manifest.files.get(name)
            if there is None or there.size != listed.size or (listed.sha256 or there.sha256) != there.sha256:
                raise self.differs(f"{PLAN} takes over another {name} from the source than {MANIFEST} lists.")
        noun = TASKS[report.task].medium.noun
        return f"{report.verdict}, {len(report.metrics)} metrics on {len(report.pairs)} pairs of {noun}s"

    def provenance_fits(self, apart: Set[str] = frozenset()) -> str:
        """Check that the statement of provenance is about these files, this plan and this source.

        Args:
            apart: Files that were changed since, as the manifest says.

        Raises:
            VerificationError: It is not.
        """
        statement = self.read(PROVENANCE, lambda: Statement.model_validate_json(self.content(PROVENANCE)))
        definition, plan = statement.predicate.build_definition, self.json(PLAN)
        built = {name: file for name, file in self.manifest.files.items() if name not in {PROVENANCE, *apart}}
        stated = tuple(subject for subject in statement.subject if subject.name not in apart)
        source = self.read(REPORT, lambda: dependencies(plan, self.json(REPORT)))
        facts = {
            "files": (stated, subjects(Manifest(files=built))),
            "plan": (definition.internal_parameters.get("plan"), plan),
            "plan's digest": (definition.internal_parameters.get("planDigest"), {"sha256": digest_of(plan)}),
            "source": (definition.resolved_dependencies, source),
        }
        for name, (said, found) in facts.items():
            if said != found:
                raise self.differs(f"{PROVENANCE} states another {name} than the release has.")
        return f"from {self.plan.source.where} by the plan {self.plan.digest[:12]}"

    def differs(self, what: str, remedy: str = ASK) -> VerificationError:
        """Return the error for a difference."""
        return VerificationError(printable(what), where=self.where, remedy=remedy)


def measured_files(plan: TargetPlan, report: dict[str, Any]) -> dict[str, FileEntry]:
    """Return the files of weights that a report speaks of."""
    parts = [pair for one in (report, *report.get("further", ())) for pair in one["weights"].items()]
    return {
        plan.path_of(part, name): FileEntry(**file) for part, found in parts for name, file in found["files"].items()
    }


def printable(text: str) -> str:
    """Return text from elsewhere without what would move the cursor or change the colours of a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def in_words(entry: FileEntry | None) -> str:
    """Return size and digest of a file for people."""
    return f"with {entry.size} bytes and the SHA-256 {entry.sha256}" if entry else "not at all"
