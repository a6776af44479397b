"""One repository on disk: immutable trees and commits by id, and one small record that names the current ones.

A change writes the objects it needs first and the record last, under a lock that holds across threads and processes;
a crash at any point leaves the previous state.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from localhub.files import canonical_json, write_atomically
from localhub.git import commit_id, tree_ids
from localhub.records import Blob, Commit, State, Tree, now
from localhub.refusals import repo_not_found, revision_not_found

_COMMIT = re.compile(r"[0-9a-f]{7,40}")


class Repository:
    """A repository by kind and id, in a folder of its own."""

    def __init__(self, kind: str, repo_id: str, folder: Path, lock: Path) -> None:
        self.kind = kind
        self.repo_id = repo_id
        self._folder = folder
        self._lock = lock

    @property
    def namespace(self) -> str:
        """The user or organization that owns it."""
        return self.repo_id.split("/")[0]

    def state(self) -> State:
        """Read the current record."""
        try:
            return State.model_validate_json((self._folder / "state.json").read_bytes())
        except FileNotFoundError:
            raise repo_not_found() from None

    @contextmanager
    def changing(self) -> Iterator[State]:
        """Hold the lock, lend the record, and write it back; nothing is written when the body raises."""
        with locked(self._lock):
            state = self.state()
            yield state
            self.write_state(state)

    def write_state(self, state: State) -> None:
        """Replace the record."""
        write_atomically(self._folder / "state.json", state.model_dump_json().encode())

    def resolve(self, revision: str, state: State | None = None) -> str:
        """Return the commit that a branch, tag, full ref, commit id or its first seven digits or more mean."""
        refs = (state or self.state()).refs
        for ref in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if ref in refs:
                return refs[ref]
        if _COMMIT.fullmatch(revision):
            found = [path.stem for path in (self._folder / "commits").glob(f"{revision}*.json")]
            if len(found) == 1:
                return found[0]
        raise revision_not_found(revision)

    def branch_or_pull(self, revision: str, state: State) -> str:
        """Return the full ref that commits can be added to under this name."""
        for ref in (revision, f"refs/heads/{revision}"):
            if ref in state.refs and not ref.startswith("refs/tags/"):
                return ref
        raise revision_not_found(revision)

    def commit(self, oid: str) -> Commit:
        """Read a commit."""
        return Commit.model_validate_json(self._read("commits", oid))

    def history(self, oid: str) -> Iterator[Commit]:
        """Walk back from a commit; none here has more than one parent."""
        following: str | None = oid
        while following:
            commit = self.commit(following)
            yield commit
            following = commit.parents[0] if commit.parents else None

    def tree_at(self, revision: str) -> Tree:
        """Read the tree of a revision."""
        return self.tree(self.commit(self.resolve(revision)).tree)

    def tree(self, oid: str) -> Tree:
        """Read a tree; the contents of its files stay where they are."""
        recorded = json.loads(self._read("trees", oid))
        return Tree({path: Blob(*row) for path, row in recorded["files"].items()}, recorded["folders"])

    def _read(self, folder: str, oid: str) -> bytes:
        try:
            return (self._folder / folder / f"{oid}.json").read_bytes()
        except FileNotFoundError:  # the repository was deleted since its record was read
            raise repo_not_found() from None

    def has_large(self, sha256: str) -> bool:
        """Say whether the bytes of a large file arrived whole for this repository.

        Knowing its SHA-256 is not having it: listings show that to people who may not have the bytes.
        """
        return (self._folder / "large" / sha256).exists()

    def add_large(self, digests: Iterable[str]) -> None:
        """Remember which large files arrived; a repository that went meanwhile does not come back for that."""
        with locked(self._lock):
            self.state()
            for sha256 in digests:
                write_atomically(self._folder / "large" / sha256, b"")

    def add_commit(
        self, files: dict[str, Blob], parents: Sequence[str], message: tuple[str, str], author: str
    ) -> Commit:
        """Write a tree and a commit of it; no ref points there yet.

        Args:
            files: The whole tree by path.
            parents: Ids of the commits it follows.
            message: Title and description.
            author: Who is told to have made it; not part of the id.
        """
        folders = tree_ids({path: blob.oid for path, blob in files.items()})
        tree_path = self._folder / "trees" / f"{folders['']}.json"
        if not tree_path.exists():
            write_atomically(tree_path, canonical_json({"files": files, "folders": folders}))
        title, description = message
        oid = commit_id(folders[""], parents, title, description)
        commit_path = self._folder / "commits" / f"{oid}.json"
        if commit_path.exists():
            return self.commit(oid)
        commit = Commit(
            oid=oid,
            tree=folders[""],
            parents=tuple(parents),
            title=title,
            description=description,
            author=author,
            date=now(),
        )
        write_atomically(commit_path, commit.model_dump_json().encode())
        return commit


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file across threads and processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
