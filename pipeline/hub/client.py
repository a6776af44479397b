"""The Hub as a publisher needs it: a source to read at a commit, and a repository to release to.

Everything goes through the unmodified ``huggingface_hub`` client. A release is one commit on a pull request, so that
nothing is on ``main`` before it was read back.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pipeline.errors import RemoteChangedError, SourceError, VerificationError
from pipeline.files import ListedFile, Manifest, files_under
from pipeline.hub.failures import hub_errors, moved, no_right
from pipeline.hub.patience import PATIENT, SOON, Patience

if TYPE_CHECKING:
    from httpx2 import Client
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    from pipeline.hub.ahead import ReadAhead
    from pipeline.hub.ranges import RemoteFile

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 300.0  # a commit of thousands of files takes the Hub minutes
Gate = Literal["auto", "manual"]
OWN_FILES: Final = frozenset({".gitattributes"})  # made by the Hub itself in every repository


@dataclass(frozen=True)
class Staged:
    """A commit on a pull request that nobody has merged."""

    number: int
    commit: str


@dataclass(frozen=True)
class RemoteState:
    """What a repository looks like before a release; all empty where there is no such repository.

    Attributes:
        head: The commit that ``main`` points to.
        plan: The content of ``publish/plan.json`` on it.
        tags: Commit by tag.
        staged: Open pull requests by title.
    """

    head: str | None = None
    plan: bytes | None = None
    tags: Mapping[str, str] | None = None
    staged: Mapping[str, Staged] | None = None


class Hub:
    """One Hub, seen with one token.

    Args:
        endpoint: The Hub's address; None for the one that ``HF_ENDPOINT`` names.
        token: The token; None for the one that the client finds by itself.
    """

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        self._given = endpoint
        self._token = token

    @cached_property
    def api(self) -> HfApi:
        """The client, whose calls neither end by themselves nor are retried unless it is told so."""
        from huggingface_hub import HfApi, set_client_factory

        set_client_factory(new_client)
        return HfApi(endpoint=self._given, token=self._token, library_name="quantpress")

    @property
    def endpoint(self) -> str:
        """The Hub's address without a final slash."""
        return str(self.api.endpoint).rstrip("/")

    def source(self, repo: str, revision: str) -> Repository:
        """Return a model repository at a commit, to be read.

        Raises:
            SourceError: It is not there, or not for this token.
            HubUnavailableError: The Hub does not answer.
        """
        tree = self.tree(repo, revision, as_source=True)
        return Repository(self, repo, revision, {name: file for name, file in tree.items() if name not in OWN_FILES})

    def tree(self, repo: str, revision: str, *, as_source: bool = False) -> dict[str, ListedFile]:
        """List the files of a repository at a revision."""
        from huggingface_hub.hf_api import RepoFile

        with hub_errors(f"{repo}@{revision[:12]}", as_source=as_source):
            entries = self.api.list_repo_tree(repo, recursive=True, revision=revision)
            return {entry.path: remote_file(entry) for entry in entries if isinstance(entry, RepoFile)}

    def state(self, repo: str) -> RemoteState:
        """Return what a repository looks like now.

        Raises:
            HubUnavailableError: The Hub does not answer.
            CannotHereError: The token may not read it.
        """
        from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

        with hub_errors(repo):
            try:
                refs = self.api.list_repo_refs(repo, include_pull_requests=True)
            except RepositoryNotFoundError:
                return RemoteState()
            head = next((branch.target_commit for branch in refs.branches if branch.name == "main"), None)
            commits = {ref.ref: ref.target_commit for ref in refs.pull_requests or []}
            talks = self.api.get_repo_discussions(repo, discussion_type="pull_request", discussion_status="open")
            staged = {
                talk.title: Staged(talk.num, commits[f"refs/pr/{talk.num}"])
                for talk in talks
                if f"refs/pr/{talk.num}" in commits
            }
            try:
                plan = self.read(repo, head, "publish/plan.json", 0, 64 << 20) if head else None
            except EntryNotFoundError:
                plan = None
        return RemoteState(head, plan, {tag.name: tag.target_commit for tag in refs.tags}, staged)

    def read(self, repo: str, revision: str, name: str, offset: int, length: int) -> bytes:
        """Read a range of a file; fewer bytes at its end."""
        return b"".join(self.file(repo, revision, name).pieces(offset, offset + length, whole=True))

    def file(
        self,
        repo: str,
        revision: str,
        name: str,
        *,
        size: int | None = None,
        patience: Patience = SOON,
        client: Client | None = None,
    ) -> RemoteFile:
        """Return a file whose ranges can be fetched; the arguments are those of `RemoteFile`."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils._headers import build_hf_headers

        from pipeline.hub.ranges import RemoteFile

        def headers(with_token: bool) -> dict[str, str]:
            return build_hf_headers(token=self._token if with_token else False, library_name="quantpress")

        url = hf_hub_url(repo, name, revision=revision, endpoint=self.endpoint)
        where = f"{repo}@{revision[:12]}/{name}"
        return RemoteFile(url, where, headers, size=size, patience=patience, client=client)

    def require_writer(self, repo: str) -> None:
        """Make sure that the token may write before hours are spent.

        Raises:
            CannotHereError: It may not.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        with hub_errors(repo):
            try:
                self.api.auth_check(repo, write=True)
            except RepositoryNotFoundError:
                user = self.api.whoami()
                spaces = {user["name"], *(org["name"] for org in user.get("orgs", []))}
                role = user.get("auth", {}).get("accessToken", {}).get("role", "write")
                if role != "admin" and (repo.partition("/")[0] not in spaces or role == "read"):
                    raise no_right(repo, f"this token of {user['name']} may not create repositories there") from None

    def create(self, repo: str, *, private: bool, gated: Gate | None) -> str:
        """Create a repository unless it is there, gate it as asked, and return its head."""
        with hub_errors(repo):
            self.api.create_repo(repo, private=private, exist_ok=True)
            info = self.api.repo_info(repo)
            if gated is not None and info.gated != gated:
                self.api.update_repo_settings(repo, gated=gated)
            return str(info.sha)

    def gate(self, repo: str) -> Gate | None:
        """Return how a source asks for access, so that what is made of it asks the same."""
        with hub_errors(repo, as_source=True):
            return self.api.model_info(repo).gated or None

    def find(self, repo: str, revision: str | None) -> str | None:
        """Return the commit that a revision of a repository is, ``main`` by default; None where it is not here."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        with hub_errors(repo, as_source=True):
            try:
                return self.api.model_info(repo, revision=revision).sha
            except (RepositoryNotFoundError, RevisionNotFoundError):
                return None

    def stage(self, repo: str, folder: Path, parent: str, title: str) -> Staged:
        """Commit a folder as the whole content of a new pull request on ``parent``.

        Raises:
            RemoteChangedError: ``main`` is no longer ``parent``.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        names = {path.relative_to(folder).as_posix(): path for path in files_under(folder)}
        with hub_errors(repo):
            gone = sorted(self.tree(repo, parent).keys() - names.keys() - OWN_FILES)
            deletions = [CommitOperationDelete(name) for name in gone]
            additions = [CommitOperationAdd(name, path) for name, path in names.items()]
            done = self.api.create_commit(
                repo, [*deletions, *additions], commit_message=title, create_pr=True, parent_commit=parent
            )
            if done.pr_num is None:
                raise VerificationError("The Hub took the commit and opened no pull request.", where=repo)
            return Staged(done.pr_num, done.oid)

    def parent_of(self, repo: str, commit: str) -> str | None:
        """Return the commit that a commit follows."""
        with hub_errors(repo):
            history = self.api.list_repo_commits(repo, revision=commit)
        return history[1].commit_id if len(history) > 1 else None

    def abandon(self, repo: str, staged: Staged, why: str) -> None:
        """Close a pull request that will not be merged."""
        with hub_errors(repo):
            self.api.change_discussion_status(repo, staged.number, "closed", comment=why)

    def merge(self, repo: str, staged: Staged, parent: str) -> str:
        """Merge a pull request and return the new head of ``main``.

        Raises:
            RemoteChangedError: ``main`` moved since ``parent``.
        """
        with hub_errors(repo):
            head = str(self.api.repo_info(repo).sha)
            if head != parent:
                raise moved(repo, parent, head)
            self.api.merge_pull_request(repo, staged.number)
            return str(self.api.repo_info(repo).sha)

    def tag(self, repo: str, tag: str, commit: str) -> None:
        """Tag a commit.

        Raises:
            RemoteChangedError: The tag points elsewhere.
        """
        with hub_errors(repo):
            self.api.create_tag(repo, tag=tag, revision=commit, exist_ok=True)
            refs = self.api.list_repo_refs(repo)
            there = {found.name: found.target_commit for found in refs.tags}.get(tag)
        if there != commit:
            raise RemoteChangedError(f"The tag {tag} points to {there}, not to {commit}.", where=repo)

    def download(self, repo: str, commit: str, cache: Path) -> Path:
        """Download a commit into an empty cache as any consumer would, and return the snapshot's folder."""
        from huggingface_hub import snapshot_download

        with hub_errors(f"{repo}@{commit[:12]}"):
            return Path(
                snapshot_download(
                    repo, revision=commit, cache_dir=cache, endpoint=self.endpoint, token=self._token,
                    library_name="quantpress",
                )
            )  # fmt: skip


class Repository:
    """A source on a Hub at a commit; satisfies `pipeline.checkpoint.layout.Place`."""

    def __init__(self, hub: Hub, repo: str, revision: str, files: Mapping[str, ListedFile]) -> None:
        self.hub = hub
        self.repo = repo
        self.revision = revision
        self.where = f"{repo}@{revision[:12]}"
        self.files = files
        self._read: dict[str, RemoteFile] = {}  # a header is read in two ranges, and the Hub asked for it once

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Read a range of a file; fewer bytes at its end."""
        with hub_errors(f"{self.where}/{name}", as_source=True):
            if name not in self._read:
                self._read[name] = self.hub.file(self.repo, self.revision, name, size=self.files[name].size)
            return b"".join(self._read[name].pieces(offset, offset + length, whole=True))

    def open(self, name: str, begin: int = 0, *, patience: Patience = PATIENT, **options: int) -> ReadAhead:
        """Open a file to be read forwards, several ranges at a time, without storing it.

        Args:
            name: The file.
            begin: Where the reader will begin.
            patience: How long the Hub is waited for.
            **options: Those of `ReadAhead`.
        """
        from pipeline.hub.ahead import ReadAhead

        size = self.files[name].size
        file = self.hub.file(self.repo, self.revision, name, size=size, patience=patience, client=new_client())
        return ReadAhead(file, size, begin, **options)

    def download(self, name: str, folder: Path) -> None:
        """Put one file under a folder, proven against the Hub's digest; a whole one that is there is kept.

        Raises:
            SourceError: Twice the bytes were not what the Hub says they are.
        """
        from huggingface_hub import hf_hub_download

        path = folder / name
        if path.is_file() and self.files[name].describes(path):
            return
        for _ in range(2):
            with hub_errors(f"{self.where}/{name}", as_source=True):
                hf_hub_download(
                    self.repo, name, revision=self.revision, local_dir=folder, endpoint=self.hub.endpoint,
                    token=self.hub._token, library_name="quantpress",
                )  # fmt: skip
            if self.files[name].describes(path):
                return
            path.unlink()
            shutil.rmtree(folder / ".cache", ignore_errors=True)
        raise SourceError(
            f"The bytes of {name} are not those whose digest the Hub lists.",
            where=self.where,
            remedy="A proxy, a disk or the Hub damages them; run again, and if it stays so from another network.",
        )


def new_client() -> Client:
    """Return a client as ``huggingface_hub`` makes its own, except that it does not wait for ever."""
    import httpx2
    from huggingface_hub.utils._http import hf_request_event_hook

    return httpx2.Client(
        event_hooks={"request": [hf_request_event_hook]},
        follow_redirects=True,
        timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
    )


def remote_file(entry: RepoFile) -> ListedFile:
    """Return a listed file in our terms."""
    if entry.lfs is not None:
        return ListedFile(size=entry.size, sha256=entry.lfs.sha256)
    return ListedFile(size=entry.size, git_sha1=entry.blob_id)


def differences(tree: Mapping[str, ListedFile], folder: Path) -> list[str]:
    """Return the files in which a listed tree is not a folder, without reading from the Hub."""
    local = {path.relative_to(folder).as_posix(): path for path in files_under(folder)}
    strange = (tree.keys() - OWN_FILES) ^ local.keys()
    return sorted(strange | {name for name in tree.keys() & local.keys() if not tree[name].describes(local[name])})


def require_same(found: Manifest, manifest: Manifest, where: str) -> None:
    """Compare what was downloaded with what was built.

    Raises:
        VerificationError: They differ.
    """
    names = sorted(
        name for name in {*found.files, *manifest.files} if found.files.get(name) != manifest.files.get(name)
    )
    names = [name for name in names if name not in OWN_FILES]
    if names:
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise VerificationError(
            f"The Hub serves {names[0]}{others} otherwise than built.",
            where=where,
            remedy="Nothing was merged; run again, and if it stays so the Hub or what lies between is damaged.",
        )
