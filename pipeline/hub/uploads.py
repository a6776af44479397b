"""Bytes on their way to a repository: all large files together, then one commit that makes them visible.

The requests are those of the client's ``create_commit`` (huggingface_hub 2.4.0), with the same parameters and headers,
and are our own because its steps cannot be had one by one. Called once for a pull request and once for ``main``, it

- cuts every large file into chunks a second time, though the Hub has it all;
- lets ``hf_xet`` try as long as that likes, and tells nobody how far it is;
- leaves out what the head has already, and without anything left answers with the head where a moved one is refused;
- leaves out what a ``.gitignore`` on the Hub names, which nobody would miss before the release is compared.
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
from pipeline.hub.answers import Committed, Sorted
from pipeline.hub.errors import UnreadableAnswerError
from pipeline.hub.retry import RetryPolicy
from pipeline.hub.transport import require_safe

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

ANY_PULL: Final = "None"  # what the client writes for the revision of a pull request that is yet to be opened
SAMPLE_BYTES: Final = 512  # what the Hub looks at to tell a large file from a text
AT_ONCE: Final = 256  # files in one question, as the client asks
ProgressCallback = Callable[[int, int], None]  # bytes read and bytes sent, of all files together


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

    def __init__(self, api: HfApi, repo: str, patience: RetryPolicy, listen: Listener) -> None:
        self._api = api
        self._listen = listen
        self._repo = repo
        self._patience = patience
        self._url = f"{api.endpoint}/api/models/{repo}"

    def send(self, change: Change, revision: str, heard: ProgressCallback, *, pull: bool = False) -> frozenset[str]:
        """Send the large files that the Hub lacks; return the names of all large files.

        Args:
            change: What is to be committed.
            revision: The branch that it will be committed to.
            heard: Hears of bytes.
            pull: Whether it will be a pull request to that branch, which more people may open than may write.
        """
        large = sorted(self._large(change, revision, pull=pull))
        place = None
        if large and xet.available():
            place = xet.storage(self._api, self._repo, ANY_PULL if pull else revision, "write", pull=pull)
        if place is None or not self._sent_by_xet(place, change, large, heard):
            self._send_by_lfs(change, large, None if pull else revision, heard)
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
            params=meant_for(pull),
        )
        hf_raise_for_status(answer)
        said = Committed.of(answer.json())
        return said.commitOid, number_of(said.pullRequestUrl) if pull else None

    @property
    def _headers(self) -> dict[str, str]:
        from huggingface_hub.utils import build_hf_headers

        return dict(build_hf_headers(token=self._api.token, library_name="quantpress"))

    def _large(self, change: Change, revision: str, *, pull: bool) -> set[str]:
        """Ask which files the Hub keeps outside of git; empty ones never are."""
        found = set()
        for names in batches(change.files):
            rows = [
                {"path": name, "sample": sample_of(change.folder / name), "size": change.files[name].size}
                for name in names
            ]
            said = self._ask(f"{self._url}/preupload/{quote(revision, safe='')}", {"files": rows}, pull=pull)
            found |= {file.path for file in Sorted.of(said).files if file.uploadMode == "lfs"}
        return {name for name in found & change.files.keys() if change.files[name].size}

    def _sent_by_xet(self, place: xet.Storage, change: Change, names: Sequence[str], heard: ProgressCallback) -> bool:
        """Send large files in one upload, and say whether the storage took them."""
        files = {change.folder / name: change.files[name].sha256 for name in names}
        try:
            sent = xet.upload(place, files, self._patience, heard)
        except ConnectionError as error:
            # Its storage may be out of reach, or lack chunks that this machine remembers to have sent there: one that
            # was put back from a copy, from which hf_xet 1.8.0 knows no way back.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            told = f"{len(names)} files go by LFS, for Xet did not take them: {reason}"
            self._listen(Event("note", "upload", self._repo, told))
            return False
        heard(sent.size, sent.sent)
        return True

    def _send_by_lfs(self, change: Change, names: Sequence[str], revision: str | None, heard: ProgressCallback) -> None:
        """Send large files over plain HTTP, one after another, each whole or in parts as the Hub says.

        Raises:
            UnreadableAnswerError: The Hub does not want one of them.
        """
        from huggingface_hub.lfs import lfs_upload, post_lfs_batch_info

        read = sent = 0
        for some in batches(names):
            additions = [addition_of(change, name) for name in some]
            rows, errors, _ = post_lfs_batch_info(
                [addition.upload_info for addition in additions],
                token=None,  # the headers have it
                repo_type="model",
                repo_id=self._repo,
                revision=revision,
                endpoint=self._api.endpoint,
                headers=self._headers,
            )
            for row in errors:
                raise UnreadableAnswerError(f"it does not take {row['oid']}: {row['error'].get('message')}")
            wanted = {str(row["oid"]): row for row in rows if row.get("actions")}
            for addition in additions:
                size = addition.upload_info.size
                if action := wanted.pop(addition.upload_info.sha256.hex(), None):
                    for step in action["actions"].values():
                        require_safe(str(step.get("href")), str(self._api.endpoint))
                    lfs_upload(addition, action, headers=self._headers, endpoint=self._api.endpoint)
                    sent += size
                read += size
                heard(read, sent)

    def _ask(self, url: str, question: Mapping[str, Any], *, pull: bool) -> Any:
        """Ask and return the answer's JSON."""
        from huggingface_hub.utils import get_session, hf_raise_for_status

        answer = get_session().post(url, json=question, headers=self._headers, params=meant_for(pull))
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


def meant_for(pull: bool) -> dict[str, str]:
    """Return the query of a request that belongs to a commit: whether that will open a pull request."""
    return {"create_pr": "1"} if pull else {}


def addition_of(change: Change, name: str) -> CommitOperationAdd:
    """Return a file as the client names it, with its known digest, so that it is not read for one again."""
    from huggingface_hub import CommitOperationAdd

    addition = CommitOperationAdd(name, change.folder / name)
    addition.upload_info.sha256 = bytes.fromhex(change.files[name].sha256)
    return addition


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
