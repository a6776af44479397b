"""Bytes on their way to a repository: files that the Hub lacks go one after another, and nothing becomes visible by it.

The calls are those of the client's ``create_commit`` (huggingface_hub 2.4), taken apart: it hashes every file again,
repeats none of its steps alone, forgets a file that arrived when the next one fails, and tells nobody how far it is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pipeline.events import Event, Listener
from pipeline.files import FileEntry
from pipeline.hub import xet
from pipeline.hub.answers import Committed, Lacking, Sorted
from pipeline.hub.failures import UnreadableAnswerError
from pipeline.hub.patience import Patience
from pipeline.hub.transport import require_safe

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SAMPLE_BYTES: Final = 512  # what the Hub looks at to tell a large file from a text
AT_ONCE: Final = 256  # files in one question, as the client asks
Heard = Callable[[str, int, int, int], None]  # file, bytes read, bytes sent, bytes in all


@dataclass(frozen=True)
class Change:
    """What a commit does: files that it puts, by path in the repository, and files that it removes.

    Attributes:
        folder: Where the files lie under the same paths.
        files: Size and digest of each.
        gone: The paths that are removed.
    """

    folder: Path
    files: Mapping[str, FileEntry]
    gone: Sequence[str] = ()


class Uploader:
    """Sends files to one repository and commits them.

    Args:
        api: The client.
        repo: The repository.
        patience: How long is waited.
        listen: Hears when Xet fails.
    """

    def __init__(self, api: HfApi, repo: str, patience: Patience, listen: Listener) -> None:
        self._api = api
        self._listen = listen
        self._repo = repo
        self._patience = patience
        self._url = f"{api.endpoint}/api/models/{repo}"

    def send(self, change: Change, revision: str, heard: Heard) -> frozenset[str]:
        """Send the large files that the Hub lacks; return the names of all large files.

        Args:
            change: What is to be committed.
            revision: The branch that it will be committed to.
            heard: Hears of bytes.
        """
        large = self._large(change, revision)
        for names in batches(large):
            lacking = self._lacking([change.files[name] for name in names], revision)
            for name in names:
                size = change.files[name].size
                if action := lacking.get(change.files[name].sha256):
                    self._send_one(change, name, revision, action, heard)
                else:
                    heard(name, size, 0, size)
        return frozenset(large)

    def commit(
        self, change: Change, large: frozenset[str], revision: str, parent: str, message: str, *, pull: bool = False
    ) -> tuple[str, int | None]:
        """Commit what was sent, all of it or nothing.

        Args:
            change: What is committed.
            large: The names that `send` returned.
            revision: The branch.
            parent: The commit that it must follow.
            message: The title.
            pull: Whether it opens a pull request instead of moving the branch.

        Returns:
            The commit, and the number of the pull request.

        Raises:
            HfHubHTTPError: The Hub refuses; 412 where the branch is no longer at ``parent``.
            TransportError: It did not answer, and may have done it all the same.
        """
        from huggingface_hub.utils import get_session, hf_raise_for_status

        lines = [json.dumps(line).encode() + b"\n" for line in commit_lines(change, large, parent, message)]
        answer = get_session().post(
            f"{self._url}/commit/{quote(revision, safe='')}",
            content=b"".join(lines),
            headers={**self._headers, "Content-Type": "application/x-ndjson"},
            params={"create_pr": "1"} if pull else {},
        )
        hf_raise_for_status(answer)
        said = Committed.of(answer.json())
        return said.commitOid, number_of(said.pullRequestUrl) if pull else None

    @property
    def _headers(self) -> dict[str, str]:
        from huggingface_hub.utils import build_hf_headers

        return dict(build_hf_headers(token=self._api.token, library_name="quantpress"))

    def _large(self, change: Change, revision: str) -> set[str]:
        """Ask which files the Hub keeps outside of git; empty ones never are."""
        found = set()
        for names in batches(change.files):
            rows = [
                {"path": name, "sample": sample_of(change.folder / name), "size": change.files[name].size}
                for name in names
            ]
            said = self._ask(f"{self._url}/preupload/{quote(revision, safe='')}", {"files": rows})
            found |= {file.path for file in Sorted.of(said).files if file.uploadMode == "lfs"}
        return {name for name in found & change.files.keys() if change.files[name].size}

    def _lacking(self, files: Sequence[FileEntry], revision: str) -> dict[str, dict[str, Any]]:
        """Return what the Hub says of each file that has to be sent, by digest; one that is there gets no action.

        Raises:
            UnreadableAnswerError: It does not want one of them.
        """
        wanted = {
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": [{"oid": file.sha256, "size": file.size} for file in files],
            "hash_algo": "sha256",
            "ref": {"name": revision},
        }
        said = self._ask(f"{self._api.endpoint}/{self._repo}.git/info/lfs/objects/batch", wanted)
        rows = Lacking.of(said).objects
        for row in rows:
            if row.error:
                raise UnreadableAnswerError(f"it does not take {row.oid}: {row.error.get('message')}")
        return {row.oid: row.model_dump(exclude_none=True) for row in rows if row.actions}

    def _send_one(self, change: Change, name: str, revision: str, action: dict[str, Any], heard: Heard) -> None:
        """Send one large file: by Xet where the Hub has it and takes it, else to the address that it gave."""
        file, path = change.files[name], change.folder / name

        def heard_of(read: int, sent: int) -> None:
            heard(name, read, sent, file.size)

        place = xet.storage(self._api, self._repo, revision, "write") if xet.available() else None
        if place is not None:
            try:
                heard_of(file.size, xet.upload(place, path, file.sha256, self._patience, heard_of).sent)
            except (ConnectionError, RuntimeError) as error:
                # Its storage may be out of reach, or lack chunks that this machine remembers to have sent there: one
                # that was put back from a copy, from which hf_xet 1.8.0 knows no way back.
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                self._listen(Event("note", "upload", name, f"{name} goes by LFS, for Xet did not take it: {reason}"))
            else:
                return
        self._send_by_lfs(path, file, action)
        heard_of(file.size, file.size)

    def _send_by_lfs(self, path: Path, file: FileEntry, action: dict[str, Any]) -> None:
        """Send one large file over plain HTTP, whole or in parts as the Hub says."""
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.lfs import lfs_upload

        for step in action["actions"].values():
            require_safe(str(step.get("href")), str(self._api.endpoint))
        addition = CommitOperationAdd(path.name, path)
        addition.upload_info.sha256 = bytes.fromhex(file.sha256)
        lfs_upload(addition, action, headers=self._headers, endpoint=self._api.endpoint)

    def _ask(self, url: str, question: Mapping[str, Any]) -> Any:
        """Ask and return the answer's JSON."""
        from huggingface_hub.utils import get_session, hf_raise_for_status

        answer = get_session().post(url, json=question, headers=self._headers)
        hf_raise_for_status(answer)
        return answer.json()


def number_of(address: str | None) -> int:
    """Return the number that the address of a pull request ends with.

    Raises:
        UnreadableAnswerError: It ends otherwise.
    """
    number = str(address).rpartition("/")[2]
    if not (number.isascii() and number.isdecimal()):
        raise UnreadableAnswerError(f"a pull request has the address {address!r}")
    return int(number)


def commit_lines(change: Change, large: frozenset[str], parent: str, message: str) -> Iterator[dict[str, Any]]:
    """Yield what a commit sends: its header, then one line a file."""
    yield {"key": "header", "value": {"summary": message, "description": "", "parentCommit": parent}}
    for name in change.gone:
        yield {"key": "deletedFile", "value": {"path": name}}
    for name, file in change.files.items():
        if name in large:
            value: dict[str, Any] = {"path": name, "algo": "sha256", "oid": file.sha256, "size": file.size}
            yield {"key": "lfsFile", "value": value}
        else:
            content = base64.b64encode((change.folder / name).read_bytes()).decode()
            yield {"key": "file", "value": {"path": name, "encoding": "base64", "content": content}}


def batches(names: Iterable[str]) -> list[list[str]]:
    """Return names in order, as many together as one question may hold."""
    ordered = sorted(names)
    return [ordered[start : start + AT_ONCE] for start in range(0, len(ordered), AT_ONCE)]


def sample_of(path: Path) -> str:
    """Return the first bytes of a file in base64."""
    with path.open("rb") as file:
        return base64.b64encode(file.read(SAMPLE_BYTES)).decode()
