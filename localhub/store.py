"""All repositories of one folder: creating, finding and deleting them."""

from __future__ import annotations

import hmac
import secrets
import shutil
import tempfile
from pathlib import Path

from localhub.files import git_blob_sha1, write_atomically
from localhub.gitattributes import FIRST_GITATTRIBUTES
from localhub.names import MAIN, checked_repo_id
from localhub.objects import Objects
from localhub.records import Blob, State
from localhub.refusals import conflict, repo_not_found
from localhub.repository import Repository, locked


class Store:
    """A folder with ``objects/``, ``repos/<kind>/<namespace>/<name>/`` and ``locks/``."""

    def __init__(self, root: Path) -> None:
        self.objects = Objects(root / "objects")
        self._repos = root / "repos"
        self._locks = root / "locks"
        self._aside = root / "aside"
        self._aside.mkdir(parents=True, exist_ok=True)
        self.key = _key_of(root / "storage.key")
        self.id = hmac.digest(self.key, b"store", "sha256").hex()[:16]

    def find(self, kind: str, repo_id: str) -> Repository:
        """Return a repository that exists."""
        repository = self._at(kind, repo_id)
        repository.state()
        return repository

    def create(self, kind: str, repo_id: str, state: State) -> Repository:
        """Create a repository with its initial commit, complete or not at all.

        Raises:
            RefusedError: 409 when it exists.
        """
        repository = self._at(kind, repo_id)
        with locked(self._lock(kind, repo_id)):
            if self._folder(kind, repo_id).exists():
                raise conflict(f"You already created this {kind[:-1]} repo")
            aside = Path(tempfile.mkdtemp(dir=self._aside))
            self._fill(Repository(kind, repo_id, aside, self._lock(kind, repo_id)), state)
            folder = self._folder(kind, repo_id)
            folder.parent.mkdir(parents=True, exist_ok=True)
            aside.rename(folder)
        return repository

    def delete(self, kind: str, repo_id: str) -> None:
        """Delete a repository; the bytes of its files stay, for they may be others' too."""
        with locked(self._lock(kind, repo_id)):
            grave = Path(tempfile.mkdtemp(dir=self._aside))
            try:
                self._folder(kind, repo_id).rename(grave / "repository")
            except FileNotFoundError:
                raise repo_not_found() from None
            finally:
                shutil.rmtree(grave)

    def _fill(self, repository: Repository, state: State) -> None:
        content = FIRST_GITATTRIBUTES[repository.kind].encode()
        blob = Blob(git_blob_sha1(content), len(content), self.objects.add(content), lfs=False)
        commit = repository.add_commit({".gitattributes": blob}, (), ("initial commit", ""), "system")
        state.refs[MAIN] = commit.oid
        repository.write_state(state)

    def _at(self, kind: str, repo_id: str) -> Repository:
        return Repository(kind, repo_id, self._folder(kind, repo_id), self._lock(kind, repo_id))

    def _folder(self, kind: str, repo_id: str) -> Path:
        return self._repos / kind / checked_repo_id(*repo_id.split("/", 1))

    def _lock(self, kind: str, repo_id: str) -> Path:
        return self._locks / kind / checked_repo_id(*repo_id.split("/", 1))


def _key_of(path: Path) -> bytes:
    """Return the secret that signs storage addresses, made once for each store and readable by its owner alone."""
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            write_atomically(path, secrets.token_hex(32).encode(), mode=0o600)
        return path.read_bytes()
