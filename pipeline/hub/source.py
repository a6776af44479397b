"""A source on a Hub at a commit: its files to be read in ranges, streamed or downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import SourceError
from pipeline.files import ListedFile
from pipeline.hub.failures import hub_errors
from pipeline.hub.patience import PATIENT, Patience
from pipeline.hub.transport import new_client

if TYPE_CHECKING:
    from pipeline.hub.ahead import ReadAhead
    from pipeline.hub.client import Hub
    from pipeline.hub.ranges import RemoteFile


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
        file = self.hub.file(self.repo, self.revision, name, size=size, patience=patience, client=new_client(patience))
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
