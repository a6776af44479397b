"""Verification: is what the Hub serves what was published, told by a consumer who has nothing but the repository.

The checks run in order and the first difference ends them: what a later one believes, an earlier one has proven.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from pipeline.backends import BACKENDS
from pipeline.backends.available import installed
from pipeline.backends.oracle.conversion import installed_versions
from pipeline.card.render import templates
from pipeline.errors import CannotHereError, GenerationError, SourceError, VerificationError
from pipeline.events import Event, Listener, silent
from pipeline.files import PIECE, FileEntry, ListedFile, counted, disk_errors, human_size, link_or_copy, safe_listing
from pipeline.hub.client import Hub
from pipeline.hub.content_check import ContentCheck
from pipeline.hub.ownership import named
from pipeline.hub.release_files import (
    CARD,
    MANIFEST,
    PLAN,
    PROVENANCE,
    QUESTIONS,
    RECIPE,
    REPORT,
    SIGNATURE,
    USAGE,
    YANKED,
)
from pipeline.hub.snapshot import Snapshot
from pipeline.hub.source import Repository
from pipeline.hub.withdrawn import Withdrawals, read_withdrawals
from pipeline.lint import lint
from pipeline.locks import temporary_in
from pipeline.plan.model import TargetPlan
from pipeline.plan.questions import request_of
from pipeline.recipe import Loaded, Recipe, Vocabulary
from pipeline.release import signing
from pipeline.release.card_again import require_same
from pipeline.release.documents import Documents, printable
from pipeline.release.editions import lay_out_edition
from pipeline.release.shadows import shadowing
from pipeline.release.signing import Expected
from pipeline.release.yank import lasting
from pipeline.source.layout import Folder, is_pickle, read_source
from pipeline.validate import generate
from pipeline.verify.tensors import Comparison, Weights, compare

WEIGHTS: Final = ("*.safetensors", "*.gguf", "*.onnx", "*.onnx_data", "*.onnx_data_[0-9]*")
UNLISTED: Final = frozenset({".gitattributes", MANIFEST, SIGNATURE})  # that a manifest does not have
LOADERS: Final = ("torch", "diffusers", "transformers")
LARGEST: Final = 64 << 20  # bytes of a document, which is read whole
State = Literal["passed", "failed", "not checked", "note"]
Found = tuple[State, str]


class Check(BaseModel):
    """One thing that was checked.

    Attributes:
        state: ``passed``, ``failed``, ``not checked`` where something for it is missing, or ``note`` for what is told
            and is no fault.
        text: What was found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    state: State
    text: str


class Verified(BaseModel):
    """What a verification found, in the order of the checks; those after one that failed are not in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    commit: str
    passed: bool
    checks: tuple[Check, ...]
    rebuilt: Comparison | None = None


@dataclass(frozen=True)
class Wanted:
    """What is to be verified.

    Attributes:
        revision: A commit, branch or tag; ``main`` where none is given.
        signer: Who should have signed.
        load: Whether it is to be loaded here.
        recipe: A recipe that it should be made of.
        rebuild: Makes a plan's checkpoints again from its recipe and the files of its questions, and returns the folder
            of each edition.
    """

    revision: str | None = None
    signer: Expected = field(default_factory=Expected)
    load: bool = True
    recipe: Loaded | None = None
    rebuild: Callable[[TargetPlan, Recipe, Path], tuple[Path, ...]] | None = None


@dataclass
class Verification:
    """The verification of one commit.

    Attributes:
        hub: The Hub.
        repo: The repository.
        commit: The commit.
        folder: Empty, with room for what is loaded.
        wanted: What is to be verified beyond the bytes.
        vocabulary: The words of recipes.
        listen: Hears of progress in bytes.
        served: Size and digest of every file that was read.
        rebuilt: How it compares with what was made again.
    """

    hub: Hub
    repo: str
    commit: str
    folder: Path
    wanted: Wanted
    vocabulary: Vocabulary
    listen: Listener
    served: dict[str, FileEntry] = field(default_factory=dict)
    rebuilt: Comparison | None = None

    @property
    def checks(self) -> dict[str, Callable[[], Found]]:
        """The checks in their order."""
        checks: dict[str, Callable[[], Found]] = {
            "names": self.names,
            "bytes": self.bytes,
            "manifest": self.manifest,
            "others": self.others,
            "format": self.format,
            "withdrawals": self.withdrawals,
            "recipe": self.recipe,
            "report": self.report,
            "card": self.card,
            "provenance": self.provenance,
            "signature": self.signature,
            "versions": self.versions,
            "loads": self.loads,
        }
        return checks | ({"rebuild": self.rebuild} if self.wanted.rebuild else {})

    def run(self) -> tuple[Verified, VerificationError | None]:
        """Run the checks until one fails, and return what was found and the error of the failure."""
        done: list[Check] = []
        failure = None
        for name, check in self.checks.items():
            try:
                state, text = check()
            except VerificationError as error:
                state, text, failure = "failed", str(error), error
            done.append(Check(name=name, state=state, text=printable(text)))
            if failure:
                break
        found = Verified(
            repository=self.repo, commit=self.commit, passed=not failure, checks=tuple(done), rebuilt=self.rebuilt
        )
        return found, failure

    @cached_property
    def place(self) -> Snapshot:
        """The commit as consumers read it."""
        return Snapshot(self.hub, self.repo, self.commit, as_source=True)

    @cached_property
    def tree(self) -> Mapping[str, ListedFile]:
        """The files that the Hub lists."""
        return self.place.tree

    @cached_property
    def covered(self) -> Mapping[str, ListedFile]:
        """The files that its manifest lists, and those that no manifest has; somebody may have put others beside."""
        names = self.documents.manifest.files.keys() | UNLISTED | {YANKED}
        return {name: file for name, file in self.tree.items() if name in names}

    @cached_property
    def documents(self) -> Documents:
        """What the release says of itself."""
        return Documents(self.folder, f"{self.repo}@{self.commit[:12]}", self.vocabulary)

    def names(self) -> Found:
        """Check that every file has a safe name, and that a publisher of ours made it."""
        safe_listing(self.tree, self.documents.where)
        for name in (MANIFEST, PLAN, RECIPE, REPORT):
            if name not in self.tree:
                raise self.documents.differs(f"It has no {name}: it was not published by quantpress, or not whole.")
        for name, file in self.tree.items():
            if (name == CARD or name.startswith("publish/")) and file.size > LARGEST:
                raise self.documents.differs(f"{name} has {human_size(file.size)}, more than any that was published.")
        return "passed", f"{len(self.tree)} files"

    def withdrawals(self) -> Found:
        """Tell whether the publisher withdrew this release, which ``main`` says, whatever is read here."""
        head = self.hub.find(self.repo, "main")
        known = read_withdrawals(self.hub, self.repo, head) if head else Withdrawals()
        release = known.shown.commit if known.shown and self.commit == head else self.commit
        for tag, found in known.tags.items():
            if found.commit == release:
                instead = f" Use {found.new_version} instead." if found.new_version else ""
                return "note", f"{tag} was withdrawn by its publisher: {found.reason}{instead}"
        return "passed", "it was not withdrawn"

    def bytes(self) -> Found:
        """Check every byte that the manifest covers against the digests that the Hub lists."""
        ContentCheck(self.place, silent, self.kept, {MANIFEST}.__contains__).read()  # tells what else is read
        for name in (PLAN, RECIPE, REPORT):
            if name not in self.covered:
                raise self.documents.differs(f"{MANIFEST} does not list {name}.")
        self.served = ContentCheck(self.place, self.listen, self.kept, self.covered.__contains__).read()
        return "passed", f"{human_size(sum(file.size for file in self.served.values()))} are those that the Hub lists"

    def kept(self, name: str) -> Path | None:
        """Return where a file is kept while it is read: what is looked into, and what may be loaded; never a pickle."""
        kept = name == CARD or name.startswith("publish/") or not self.why_not_loaded
        return self.folder / name if kept and not is_pickle(name) else None

    @property
    def released(self) -> dict[str, FileEntry]:
        """What was read, without the list of withdrawn tags where this release has nothing to do with it."""
        apart = {YANKED} - self.documents.manifest.files.keys()
        return {name: file for name, file in self.served.items() if name not in apart}

    def manifest(self) -> Found:
        """Check every file against the manifest."""
        built = {name: file for name, file in self.released.items() if name not in UNLISTED}
        return "passed", self.documents.manifest_fits(built)

    def others(self) -> Found:
        """Name the files that are not of this release, of which none may change what is loaded."""
        beside = sorted(self.tree.keys() - self.covered.keys())
        if shadows := shadowing(beside, self.covered.keys()):
            what = f"{MANIFEST} does not list {named(shadows)}, which would change what from_pretrained loads."
            raise self.documents.differs(what)
        return ("note", f"not covered: {named(beside)}") if beside else ("passed", "there are none")

    def format(self) -> Found:
        """Hold the headers of the weights against the formats that they are in."""
        try:
            found = lint(Repository(self.hub, self.repo, self.commit, self.covered), values=False)
        except SourceError as error:
            return "not checked", error.what
        if found.first:
            raise found.first
        return "passed", ", ".join(dict.fromkeys(model.title for model in found.models))

    def recipe(self) -> Found:
        """Check that the plan did what the recipe says."""
        return "passed", self.documents.recipe_fits(self.repo, self.wanted.recipe)

    def report(self) -> Found:
        """Check what was measured."""
        return "passed", self.documents.report_fits()

    def card(self) -> Found:
        """Write the card again, where it is in the words of this version, and compare it with what is served."""
        documents, plan = self.documents, self.documents.plan
        made = plan.versions.get("quantpress")
        if CARD not in self.served or USAGE not in self.served:
            return "not checked", "it has none of ours"
        if (
            templates().get(plan.template) != plan.template_digest
            or installed_versions(("quantpress",)).get("quantpress") != made
        ):
            return "not checked", f"it was written by quantpress {made}, in other words than those of this version"
        require_same(documents, lasting(self.hub))
        return "passed", f"it is what {PLAN} and {REPORT} make"

    def provenance(self) -> Found:
        """Check where it comes from; releases of before version 0.2 do not state it."""
        if PROVENANCE not in self.served:
            return "not checked", "it states none"
        return "passed", self.documents.provenance_fits({CARD, YANKED} if self.withdrawn else frozenset())

    @property
    def withdrawn(self) -> bool:
        """Whether this commit is a withdrawal, which changed the card after the release."""
        return YANKED in self.documents.manifest.files

    def signature(self) -> Found:
        """Check the signature, where there is one and somebody is expected to have signed."""
        expected = self.wanted.signer
        if SIGNATURE not in self.served:
            if expected.given:
                raise self.documents.differs("It is not signed.")
            return "not checked", "it is not signed"
        signature = (self.folder / SIGNATURE).read_bytes()
        who = signing.signed_by(signature)
        if not expected.given:
            return "not checked", f"it says it is signed by {who}: give --key, or --identity and --issuer"
        if self.withdrawn:
            what = f"It says that it is signed by {who}, and a withdrawal changed {CARD} since."
            raise VerificationError(what, where=self.documents.where, remedy="Give the tag with --revision.")
        digests = {name: file.sha256 for name, file in self.released.items()}
        signing.check(signature, digests, expected, self.documents.where)
        return "passed", f"signed by {who}"

    def versions(self) -> Found:
        """Tell where the installed versions are others than those it was made with."""
        made = self.documents.plan.versions
        here = installed_versions(tuple(made))
        others = [
            f"{name} {made[name]} (here {here.get(name, 'none')})" for name in made if made[name] != here.get(name)
        ]
        return ("note", f"made with {', '.join(others)}") if others else ("passed", "as installed here")

    @cached_property
    def why_not_loaded(self) -> str:
        """Why it is not loaded here, as far as that is known before a byte was read; empty where it is."""
        if not self.wanted.load:
            return "not asked for"
        if missing := [name for name in LOADERS if not installed(name)]:
            return f"{missing[0]} is not installed: pip install 'quantpress[all]'"
        size, free = sum(file.size for file in self.covered.values()), shutil.disk_usage(self.folder).free
        return f"it takes {human_size(size)} of disk, and {human_size(free)} are left" if size > free else ""

    def loads(self) -> Found:
        """Load what was read in a fresh process, as validation did, and ask it one question."""
        plan = self.documents.plan
        if reason := self.why_not_loaded or missing_backend(plan):
            return "not checked", reason
        try:
            for number, edition in enumerate(plan.editions):
                request = request_of(edition, self.folder / QUESTIONS).only(1, 1)
                answers = generate(self.loaded(number), request, self.folder / ".answers", self.listen)
        except (SourceError, GenerationError) as error:
            raise VerificationError(f"It does not load: {error.what}", where=self.documents.where) from error
        except CannotHereError as error:
            return "not checked", error.what
        every = f", and each of {counted(len(plan.beside), 'file')} beside it instead" if plan.beside else ""
        return "passed", f"on {answers.device}, {answers.how}{every}"

    def loaded(self, number: int) -> Path:
        """Return a folder of what loading an edition reads and of nothing else that lies in the repository.

        Raises:
            SourceError: It is neither a pipeline nor a single model, or a component of it has no weights but pickles.
        """
        folder = self.folder / f".loaded-{number}"
        edition = lay_out_edition(self.folder, self.documents.plan, number, self.folder / f".edition-{number}")
        layout = read_source(Folder(edition))
        for name, part in layout.components.items():
            pickles = [file for file in self.tree if file.startswith(part.folder) and is_pickle(file)]
            if pickles and not part.weights:
                raise SourceError(f"{pickles[0]} is a pickle, which is never read, and {name} has nothing else.")
        for file in layout.wanted:
            link_or_copy(edition / file, folder / file)
        return folder

    def rebuild(self) -> Found:
        """Make it again, and compare tensor by tensor with what is served."""
        if self.wanted.rebuild is None:
            return "not checked", "not asked for"
        built = self.wanted.rebuild(self.documents.plan, self.documents.recipe, self.folder / QUESTIONS)
        held = {
            path.relative_to(folder).as_posix(): path
            for folder in built
            for path in sorted(folder.rglob("*"))
            if has_weights(path.name)
        }
        made = [local(path, name, self.whose(name)) for name, path in held.items()]
        served = [self.remote(name) for name in sorted(self.served) if has_weights(name)]
        total, done = sum(weights.size for weights in served), 0

        def heard(tensor: str, size: int) -> None:
            nonlocal done
            done += size
            self.listen(Event("progress", "compare", self.repo, tensor, done, total, "B"))

        self.rebuilt = compare(made, served, heard)
        if not self.rebuilt.same:
            what = (
                f"Made again it is another checkpoint ({self.rebuilt.first}; the first as made, the second as served)."
            )
            raise VerificationError(what, where=self.documents.where, remedy=self.versions()[1].capitalize() + ".")
        graphs = any(not one.where.endswith((".safetensors", ".gguf")) for one in served)
        each = "graphs, and tensors beside them, are identical byte for byte" if graphs else "tensors are identical"
        return "passed", f"all {self.rebuilt.identical} {each}"

    def whose(self, name: str) -> str:
        """Return whose weights a file has: those of its folder, or where it lies beside others its own."""
        return name if name in self.documents.plan.files_beside else name.rpartition("/")[0]

    def remote(self, name: str) -> Weights:
        """Return a file of weights as the Hub serves it."""
        file = self.hub.file(self.repo, self.commit, name, size=self.served[name].size)
        return Weights(self.whose(name), f"{self.documents.where}/{name}", self.served[name].size, file.pieces)


def verify(
    hub: Hub, repo: str, wanted: Wanted, home: Path, vocabulary: Vocabulary, listen: Listener
) -> tuple[Verified, VerificationError | None]:  # fmt: skip
    """Verify what a Hub serves of a repository.

    Args:
        hub: The Hub.
        repo: The repository.
        wanted: Which commit, and what is to be verified beyond its bytes.
        home: Has room for what is loaded.
        vocabulary: The words of recipes.
        listen: Hears of progress in bytes.

    Returns:
        What was found, and the first difference if there is one.

    Raises:
        SourceError: There is no such repository or revision, or its names are unsafe.
        HubUnavailableError: The Hub does not answer.
        CannotHereError: A library that was asked for is missing, or the disk is full.
    """
    revision = wanted.revision
    commit = hub.find(repo, revision)
    if commit is None:
        what = f"There is no repository {repo}" + (f" with the revision {revision}." if revision else ".")
        remedy = "Correct its name, or use a token that may read it (HF_TOKEN, or hf auth login)."
        raise SourceError(what, where=hub.endpoint, remedy=remedy)
    with disk_errors(home), temporary_in(home, "verify") as folder:
        return Verification(hub, repo, commit, folder, wanted, vocabulary, listen).run()


def has_weights(name: str) -> bool:
    """Return whether a file holds weights, by its name."""
    return any(fnmatchcase(name.rpartition("/")[2], form) for form in WEIGHTS)


def missing_backend(plan: TargetPlan) -> str:
    """Return which quantization library is missing here, and how it comes; empty where none is."""
    for _, part in plan.artifacts:
        backend = BACKENDS[part.quantization.backend]
        if not installed(backend.PACKAGE):
            return f"{backend.DISTRIBUTION} is not installed: pip install 'quantpress[{backend.EXTRA}]'"
    return ""


def local(path: Path, name: str, whose: str) -> Weights:
    """Return a file of weights on disk."""

    def pieces(begin: int, end: int) -> Iterator[bytes]:
        with path.open("rb") as file:
            file.seek(begin)
            while begin < end and (piece := file.read(min(PIECE, end - begin))):
                begin += len(piece)
                yield piece

    return Weights(whose, name, path.stat().st_size, pieces)
