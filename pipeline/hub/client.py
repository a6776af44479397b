"""The Hub as everyone here reads it: what repositories hold and who may do what; all through ``huggingface_hub``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, Literal

from pipeline.events import Listener, silent
from pipeline.files import ListedFile
from pipeline.hub.failures import hub_errors, no_right
from pipeline.hub.patience import PATIENT, Patience
from pipeline.published import PLAN

if TYPE_CHECKING:
    from httpx2 import Client
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import GitRefInfo, RepoFile

    from pipeline.hub.ranges import RemoteFile
    from pipeline.hub.source import Repository

Gate = Literal["auto", "manual"]
Kind = Literal["model", "dataset"]
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
OWN_FILES: Final = frozenset({".gitattributes"})  # made by the Hub itself in every repository


@dataclass(frozen=True)
class RemoteState:
    """What a repository looks like before a release; all empty where there is no such repository.

    Attributes:
        head: The commit that ``main`` points to.
        plan: The content of ``publish/plan.json`` on it.
        tags: Commit by tag.
    """

    head: str | None = None
    plan: bytes | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class Hub:
    """One Hub, seen with one token.

    Args:
        endpoint: The Hub's address; None for the one that ``HF_ENDPOINT`` names.
        token: The token; None for the one that the client finds by itself.
        patience: How long its API is waited for.
        listen: Hears when it is waited.
        name: By what it is known from one run to the next; None for its address.

    Attributes:
        kind: Which of its repositories are read; a model and a dataset may have one name.
    """

    kind: Kind = "model"

    def __init__(
        self,
        endpoint: str | None = None,
        token: str | None = None,
        *,
        patience: Patience = PATIENT,
        listen: Listener = silent,
        name: str | None = None,
    ) -> None:
        self.patience = patience
        self.listen = listen
        self._name = name
        self._given = endpoint
        self._token = token

    @cached_property
    def api(self) -> HfApi:
        """The client, whose requests go the way that `pipeline.hub.transport` describes."""
        from huggingface_hub import HfApi, set_client_factory

        from pipeline.hub.transport import new_client, trust

        set_client_factory(partial(new_client, self.patience, self.listen))
        made = HfApi(endpoint=self._given, token=self._token, library_name="quantpress")
        trust(made.endpoint)
        return made

    @property
    def endpoint(self) -> str:
        """The Hub's address without a final slash."""
        return str(self.api.endpoint).rstrip("/")

    @property
    def name(self) -> str:
        """By what it is known from one run to the next."""
        return self._name or self.endpoint

    def of(self, kind: Kind) -> Hub:
        """Return the same Hub, whose repositories of this kind are read."""
        made = copy(self)
        made.kind = kind
        return made

    def source(self, repo: str, revision: str) -> Repository:
        """Return a repository at a commit, to be read.

        Raises:
            SourceError: It is not there, or not for this token.
            HubUnavailableError: The Hub does not answer.
        """
        from pipeline.hub.source import Repository

        tree = self.tree(repo, revision, as_source=True)
        return Repository(self, repo, revision, {name: file for name, file in tree.items() if name not in OWN_FILES})

    def tree(self, repo: str, revision: str, *, as_source: bool = False) -> dict[str, ListedFile]:
        """List the files of a repository at a revision."""
        return {name: remote_file(file) for name, file in self.listing(repo, revision, as_source=as_source).items()}

    def listing(self, repo: str, revision: str, *, as_source: bool = False) -> dict[str, RepoFile]:
        """List the files of a repository at a revision with everything that the Hub says of them."""
        from huggingface_hub.hf_api import RepoFile

        with hub_errors(f"{repo}@{revision[:12]}", as_source=as_source):
            entries = self.api.list_repo_tree(repo, recursive=True, revision=revision, repo_type=self.kind)
            return {as_read(entry).path: entry for entry in entries if isinstance(entry, RepoFile)}

    def state(self, repo: str) -> RemoteState:
        """Return what a repository looks like now.

        Raises:
            HubUnavailableError: The Hub does not answer.
            CannotHereError: The token may not read it.
        """
        from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

        with hub_errors(repo):
            try:
                refs = self.api.list_repo_refs(repo)
            except RepositoryNotFoundError:
                return RemoteState()
            head = pointing(refs.branches).get("refs/heads/main")
            tags = tagged(refs.tags)
            try:
                plan = self.read(repo, head, PLAN, 0, 64 << 20) if head else None
            except EntryNotFoundError:
                plan = None
        return RemoteState(head, plan, tags)

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
        client: Client | None = None,
    ) -> RemoteFile:
        """Return a file whose ranges can be fetched; the arguments are those of `RemoteFile`."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils._headers import build_hf_headers

        from pipeline.hub.ranges import RemoteFile

        def headers(with_token: bool) -> dict[str, str]:
            return build_hf_headers(token=self._token if with_token else False, library_name="quantpress")

        url = hf_hub_url(repo, name, repo_type=self.kind, revision=revision, endpoint=self.endpoint)
        where = f"{repo}@{revision[:12]}/{name}"
        return RemoteFile(url, where, headers, size=size, patience=self.patience, client=client)

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

    def gate(self, repo: str) -> Gate | None:
        """Return how a source asks for access, so that what is made of it asks the same."""
        with hub_errors(repo, as_source=True):
            return self.api.model_info(repo).gated or None

    def find(self, repo: str, revision: str | None) -> str | None:
        """Return the commit that a revision of a repository is, ``main`` by default; None where it is not here."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        with hub_errors(repo, as_source=True):
            try:
                return self.api.repo_info(repo, revision=revision, repo_type=self.kind).sha
            except (RepositoryNotFoundError, RevisionNotFoundError):
                return None


def pointing(refs: Iterable[GitRefInfo]) -> dict[str, str]:
    """Return where references point, by their whole name.

    Raises:
        TypeError: A name or a commit is no text; the client takes them as they come.
        ValueError: One points to something that is no commit.
    """
    found = {ref.ref: ref.target_commit for ref in refs}
    if strange := [name for name, commit in found.items() if not (COMMIT.fullmatch(commit) and name.encode())]:
        raise ValueError(f"the reference {strange[0]!r} points to no commit")
    return found


def tagged(refs: Iterable[GitRefInfo]) -> dict[str, str]:
    """Return the commits of tags by their short names.

    Raises:
        TypeError: See `pointing`.
        ValueError: See `pointing`.
    """
    return {name.removeprefix("refs/tags/"): commit for name, commit in pointing(refs).items()}


def as_read(entry: RepoFile) -> RepoFile:
    """Return a listed file whose fields are what they are read as; the client takes them as they come.

    Raises:
        TypeError: A field is of another type.
        ValueError: The size is below zero, or the name no text.
    """
    texts = (entry.path, entry.blob_id, entry.lfs.sha256 if entry.lfs else "", entry.xet_hash or "")
    if type(entry.size) is not int or not all(isinstance(text, str) for text in texts):
        raise TypeError("a file is listed with something else than its name, size and digests")
    if entry.size < 0 or not entry.path.encode():
        raise ValueError("a file is listed without a name, or with a size below zero")
    return entry


def remote_file(entry: RepoFile) -> ListedFile:
    """Return a listed file in our terms."""
    if entry.lfs is not None:
        return ListedFile(size=entry.size, sha256=entry.lfs.sha256)
    return ListedFile(size=entry.size, git_sha1=entry.blob_id)
