"""The Hub as everyone here reads it: what repositories hold and who may do what; all through ``huggingface_hub``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

from localhub.card_rules import errors_of
from pipeline.errors import VerificationError
from pipeline.events import Listener, silent
from pipeline.files import ListedFile
from pipeline.hub.answers import CardJudged, ListedEntry, Reference, TokenInfo
from pipeline.hub.endpoint import endpoint_of, require_importable
from pipeline.hub.errors import hub_errors, no_right
from pipeline.hub.release_files import PLAN
from pipeline.hub.retry import ONCE, PATIENT, RetryPolicy

if TYPE_CHECKING:
    from httpx2 import Client
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import GitRefInfo

    from pipeline.hub.ranges import RemoteFile
    from pipeline.hub.source import Repository

Gate = Literal["auto", "manual"]
Kind = Literal["model", "dataset"]
PIPELINE_TAG: Final = "diffusers:"  # before the class, among the tags that the Hub gives to a pipeline
OWN_FILES: Final = frozenset({".gitattributes"})  # made by the Hub itself in every repository


@dataclass(frozen=True)
class RemoteState:
    """What a repository looks like before a release; all empty where there is no such repository.

    Attributes:
        head: The commit that ``main`` points to.
        plan: The content of ``publish/plan.json`` at the newest release on it.
        tags: Commit by tag.
        release: The commit of that release; somebody may have changed ``main`` since.
    """

    head: str | None = None
    plan: bytes | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    release: str | None = None


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
        patience: RetryPolicy = PATIENT,
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
        require_importable()
        from huggingface_hub import HfApi

        from pipeline.hub.transport import share, trust

        share()
        made = HfApi(endpoint=endpoint_of(self._given), token=self._token, library_name="quantpress")
        trust(made.endpoint)
        return made

    @contextmanager
    def asking(self, where: str, *, as_source: bool = False) -> Iterator[None]:
        """Have what is asked here wait as this Hub is waited for, and translate what the client raises.

        It holds for this thread. A generator must not yield in it; there `hub_errors` does for files.

        Args:
            where: The repository, for the message.
            as_source: Whether a refusal is the source's fault rather than that of this environment.
        """
        from pipeline.hub.transport import Manner, manner

        before = manner.set(Manner(self.patience, self.listen))
        try:
            with hub_errors(where, as_source=as_source):
                yield
        finally:
            manner.reset(before)

    @property
    def endpoint(self) -> str:
        """The Hub's address without a final slash."""
        return str(self.api.endpoint).rstrip("/")

    def headers(self, with_token: bool = True) -> dict[str, str]:
        """Return what a request carries: who asks, and the token unless the answerer must not see it."""
        from huggingface_hub.utils import build_hf_headers

        return dict(build_hf_headers(token=self._token if with_token else False, library_name="quantpress"))

    @property
    def name(self) -> str:
        """By what it is known from one run to the next."""
        return self._name or self.endpoint

    def of(self, kind: Kind) -> Hub:
        """Return the same Hub, whose repositories of this kind are read."""
        made = copy(self)
        made.kind = kind
        return made

    def with_token(self, token: str) -> Hub:
        """Return the same Hub, seen with another token."""
        made = copy(self)
        made.__dict__.pop("api", None)
        made._token = token
        return made

    def with_patience(self, patience: RetryPolicy) -> Hub:
        """Return the same Hub, waited for so long."""
        made = copy(self)
        made.patience = patience
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

    def listing(self, repo: str, revision: str, *, as_source: bool = False) -> dict[str, ListedEntry]:
        """List the files of a repository at a revision with what the Hub says of them."""
        from huggingface_hub.hf_api import RepoFile

        with self.asking(f"{repo}@{revision[:12]}", as_source=as_source):
            entries = self.api.list_repo_tree(repo, recursive=True, revision=revision, repo_type=self.kind)
            files = [ListedEntry.of(entry) for entry in entries if isinstance(entry, RepoFile)]
        return {file.path: file for file in files}

    def state(self, repo: str) -> RemoteState:
        """Return what a repository looks like now.

        Raises:
            HubUnavailableError: The Hub does not answer.
            CannotHereError: The token may not read it.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        from pipeline.hub.ownership import last_release

        with self.asking(repo):
            try:
                refs = self.api.list_repo_refs(repo)
            except RepositoryNotFoundError:
                return RemoteState()
            head = pointing(refs.branches).get("refs/heads/main")
            tags = tagged(refs.tags)
            release = last_release(self, repo, head, tags) if head else None
        return RemoteState(head, self.content(repo, release, PLAN, 64 << 20) if release else None, tags, release)

    def content(self, repo: str, revision: str, name: str, most: int) -> bytes | None:
        """Return a small file, proven against what the Hub lists of it; None where it lists no such file.

        Args:
            repo: The repository.
            revision: The commit.
            name: The file.
            most: The bytes that it may have.

        Raises:
            VerificationError: It has more, or they are not those that the Hub lists.
            HubUnavailableError: The Hub does not answer.
        """
        where = f"{repo}@{revision[:12]}/{name}"
        with self.asking(where):
            found = self.api.get_paths_info(repo, [name], revision=revision, repo_type=self.kind)
            entry = next((ListedEntry.of(entry) for entry in found if entry.path == name), None)
            if entry is None:
                return None
            if entry.size > most:
                raise VerificationError(f"It has {entry.size} bytes, more than any such file.", where=where)
            listed = remote_file(entry)
            content = b"".join(self.file(repo, revision, name, entry.size).pieces(0, entry.size, whole=True))
        digest = listed.hashing()
        digest.update(content)
        if digest.hexdigest() != listed.digest:
            remedy = "The Hub, or what lies between, damages it: run again, and if it stays so from another network."
            raise VerificationError("Its bytes are not those that the Hub lists.", where=where, remedy=remedy)
        return content

    def file(self, repo: str, revision: str, name: str, size: int, client: Client | None = None) -> RemoteFile:
        """Return a file whose ranges can be fetched; the arguments are those of `RemoteFile`."""
        from huggingface_hub import hf_hub_url

        from pipeline.hub.ranges import RemoteFile

        url = hf_hub_url(repo, name, repo_type=self.kind, revision=revision, endpoint=self.endpoint)
        where = f"{repo}@{revision[:12]}/{name}"
        return RemoteFile(url, where, self.headers, size, patience=self.patience, client=client)

    def require_writer(self, repo: str) -> bool:
        """Make sure that the token may write before hours are spent; return whether the repository is there.

        Raises:
            CannotHereError: It may not.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        with self.asking(repo):
            try:
                self.api.auth_check(repo, write=True)
            except RepositoryNotFoundError:
                if why := TokenInfo.of(self.api.whoami()).why_not_create_in(repo.partition("/")[0]):
                    raise no_right(repo, why) from None
                return False
        return True

    def bearer(self) -> TokenInfo | None:
        """Return who the token stands for; None where there is no token.

        Raises:
            CannotHereError: The Hub does not know the token.
            HubUnavailableError: The Hub does not answer.
        """
        from huggingface_hub.errors import LocalTokenNotFoundError

        with self.asking(self.endpoint):
            try:
                return TokenInfo.of(self.api.whoami(cache=True))
            except LocalTokenNotFoundError:
                return None

    def reach(self) -> float:
        """Return the seconds in which the Hub answers the cheapest question, asked once and without a token.

        It is asked the way that a run asks, by the proxy of this environment if there is one.

        Raises:
            HubUnavailableError: It does not.
            CannotHereError: The proxy cannot be used.
        """
        from huggingface_hub.utils import get_session, hf_raise_for_status

        url, headers = f"{self.endpoint}/api/models", self.headers(with_token=False)
        with self.with_patience(ONCE).asking(self.endpoint):
            began = time.monotonic()
            answer = get_session().get(url, params={"limit": 1}, headers=headers)
            if answer.status_code >= 500:
                hf_raise_for_status(answer)
        return time.monotonic() - began

    def card_errors(self, repo: str, content: str) -> list[str]:
        """Return why this Hub would refuse a commit with a card: what it says itself, or what the rules say.

        Args:
            repo: The repository, for the message.
            content: The text of its README.md.
        """
        from huggingface_hub.utils import get_session, hf_raise_for_status

        with self.asking(repo):
            url, asked = f"{self.endpoint}/api/validate-yaml", {"content": content, "repoType": "model"}
            answer = get_session().post(url, json=asked, headers=self.headers())
            if answer.status_code == 404:  # a mirror that has no such call
                return errors_of(content)
            found = (
                [error.message for error in CardJudged.of(answer.json()).errors] if answer.status_code == 400 else []
            )
            if not found:
                hf_raise_for_status(answer)
        return found

    def gate(self, repo: str) -> Gate | None:
        """Return how a source asks for access, so that what is made of it asks the same."""
        with self.asking(repo, as_source=True):
            return self.api.model_info(repo).gated or None

    def license(self, repo: str) -> str:
        """Return what a source's page says of its license, with the address of its text; empty where it says nothing.

        The page of a gated source is there for everybody.
        """
        with self.asking(repo, as_source=True):
            card: Any = self.api.model_info(repo).card_data or {}
        name, link = str(card.get("license_name") or card.get("license") or ""), str(card.get("license_link") or "")
        address = link if "://" in link else f"{self.endpoint}/{repo}/blob/main/{link}"
        return f"{name} ({address})" if link else name

    def pipeline_class(self, repo: str) -> str:
        """Return the class of diffusers that the tags of a model name, gated or not; empty where there is none."""
        with self.asking(repo, as_source=True):
            tags = self.api.model_info(repo).tags or []
        return next((tag.removeprefix(PIPELINE_TAG) for tag in tags if tag.startswith(PIPELINE_TAG)), "")

    def is_private(self, repo: str) -> bool:
        """Return whether only those see a source whom its owner lets in."""
        with self.asking(repo, as_source=True):
            return bool(self.api.repo_info(repo, repo_type=self.kind).private)

    def find(self, repo: str, revision: str | None) -> str | None:
        """Return the commit that a revision of a repository is, ``main`` by default; None where it is not here."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        with self.asking(repo, as_source=True):
            try:
                return self.api.repo_info(repo, revision=revision, repo_type=self.kind).sha
            except (RepositoryNotFoundError, RevisionNotFoundError):
                return None


def pointing(refs: Iterable[GitRefInfo]) -> dict[str, str]:
    """Return where references point, by their whole name.

    Raises:
        UnreadableAnswerError: A name is no text, or one points to something that is no commit.
    """
    return {found.ref: found.target_commit for found in map(Reference.of, refs)}


def tagged(refs: Iterable[GitRefInfo]) -> dict[str, str]:
    """Return the commits of tags by their short names.

    Raises:
        UnreadableAnswerError: See `pointing`.
    """
    return {name.removeprefix("refs/tags/"): commit for name, commit in pointing(refs).items()}


def remote_file(entry: ListedEntry) -> ListedFile:
    """Return a listed file in our terms."""
    if entry.lfs is not None:
        return ListedFile(size=entry.size, sha256=entry.lfs.sha256)
    return ListedFile(size=entry.size, git_sha1=entry.blob_id)
