"""The files of a published repository that other programs may rely on, by their paths in it."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from pipeline.files import FileEntry, ListedFile, Manifest, digest_of, files_under, git_blob_sha1, sha256_file

CARD: Final = "README.md"
WORST: Final = "images/worst.png"  # source beside candidate where they differ most
MEDIAN: Final = "images/median.png"  # and where they differ as much as in the middle
QUESTIONS: Final = "publish/questions"  # further files of what was asked, each named after its SHA-256
USAGE: Final = "publish/usage.py"  # the card's snippet
PAGE: Final = "publish/usage.html"  # the card's snippet for a page, where a browser was tried
RECIPE: Final = "publish/recipe.yaml"  # as written, with the words of what it includes
PLAN: Final = "publish/plan.json"  # as resolved
REPORT: Final = "publish/report.json"  # as measured
PROVENANCE: Final = "publish/provenance.json"
MANIFEST: Final = "publish/manifest.json"  # every file but itself and the signature
SIGNATURE: Final = "publish/signature.json"
YANKED: Final = "publish/yanked.json"  # which tags were withdrawn, and why
WRITTEN: Final = frozenset({CARD, WORST, MEDIAN, USAGE, PAGE, RECIPE, PLAN, REPORT, PROVENANCE, MANIFEST, SIGNATURE})


@dataclass(frozen=True)
class ReleaseFolder:
    """The folder that is published, and every file of it by path.

    Attributes:
        folder: The folder, which does not change any more.
        files: Size and digest of each.
        gone: Paths of the release before that this one removes; every other file beside it is kept.
    """

    folder: Path
    files: Mapping[str, FileEntry]
    gone: Set[str] = field(default_factory=frozenset)

    @cached_property
    def digest(self) -> str:
        """What names this build: the digest of its list of files."""
        return digest_of({name: file.sha256 for name, file in self.files.items()})

    @classmethod
    def of(cls, folder: Path) -> ReleaseFolder:
        """Read a folder's manifest; only what it does not list is hashed."""
        path = folder / MANIFEST
        known = dict(Manifest.model_validate_json(path.read_bytes()).files) if path.is_file() else {}
        for file in files_under(folder):
            name = file.relative_to(folder).as_posix()
            if name not in known:
                known[name] = FileEntry(size=file.stat().st_size, sha256=sha256_file(file))
        return cls(folder, dict(sorted(known.items())))

    def differences(self, tree: Mapping[str, ListedFile]) -> list[str]:
        """Return the files in which a listed tree is not this build, whatever else it holds."""
        change = self.change(tree)
        return sorted(change.files.keys() | change.gone)

    def has(self, name: str, listed: ListedFile | None) -> bool:
        """Return whether what is listed is the file of that name here."""
        file = self.files[name]
        if listed is None or listed.size != file.size:
            return False
        if listed.sha256 is not None:
            return listed.sha256 == file.sha256
        return listed.git_sha1 == git_blob_sha1((self.folder / name).read_bytes())

    def change(self, tree: Mapping[str, ListedFile]) -> ReleaseFolder:
        """Return what of this a tree lacks."""
        lacking = {
            name: file for name, file in self.files.items() if name not in tree or not self.has(name, tree[name])
        }
        return ReleaseFolder(self.folder, lacking, tree.keys() & self.gone)
