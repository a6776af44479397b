"""What a Hub serves at a commit, read as a consumer's client reads it: by Xet where the Hub has it, else over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from pipeline.errors import HubUnavailableError
from pipeline.files import ListedFile
from pipeline.hub import xet
from pipeline.hub.answers import ListedEntry
from pipeline.hub.client import Hub, remote_file
from pipeline.hub.errors import LATER, hub_errors


@dataclass(frozen=True)
class Snapshot:
    """One commit of a repository.

    Attributes:
        hub: The Hub.
        repo: The repository.
        commit: The commit.
        as_source: Whether a refusal is the repository's fault rather than that of this environment.
    """

    hub: Hub
    repo: str
    commit: str
    as_source: bool = False

    @property
    def where(self) -> str:
        """How the commit is named in messages."""
        return f"{self.repo}@{self.commit[:12]}"

    @cached_property
    def listing(self) -> dict[str, ListedEntry]:
        """The files, with everything that the Hub says of them."""
        return self.hub.listing(self.repo, self.commit, as_source=self.as_source)

    @property
    def tree(self) -> Mapping[str, ListedFile]:
        """The files in our terms."""
        return {name: remote_file(file) for name, file in self.listing.items()}

    def pieces(self, name: str, begin: int = 0) -> Iterator[bytes]:
        """Yield a file's bytes in order.

        Args:
            name: The file.
            begin: The first byte that is wanted.

        Raises:
            SourceError: The Hub lists it and does not have it, or sends another one.
            HubUnavailableError: The Hub does not answer.
        """
        file = self.listing.get(name)
        if file is None:
            raise HubUnavailableError(f"The Hub no longer lists {name}.", where=self.where, remedy=LATER)
        with hub_errors(f"{self.where}/{name}", as_source=self.as_source):
            if file.xet_hash and xet.available() and (storage := self._storage):
                yield from xet.pieces(storage, file.xet_hash, begin, file.size, self.hub.patience)
            else:
                remote = self.hub.file(self.repo, self.commit, name, size=file.size)
                yield from remote.pieces(begin, file.size, whole=True)

    @cached_property
    def _storage(self) -> xet.Storage | None:
        with self.hub.asking(self.where, as_source=self.as_source):
            return xet.storage(self.hub, self.repo, self.commit, "read")
