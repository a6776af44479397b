"""Bytes on their way to a repository: all large files together, then one commit that makes them visible.

The requests are those of the client's ``create_commit`` (huggingface_hub 2.4.0), with the same parameters and headers,
and are our own because it and ``preupload_lfs_files``

- have ``hf_xet`` ask for its storage itself, and it goes wherever the answer says, were it a folder of this machine;
- let it try as long as it likes, and tell nobody but a terminal how far it is;
- cut every large file into chunks a second time for ``main``, though the Hub has it all;
- leave out what the head has already, and without anything left answer with the head where a moved one is refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pipeline.events import Event
from pipeline.hub import xet
from pipeline.hub.answers import Sorted
from pipeline.hub.errors import UnreadableAnswerError
from pipeline.hub.release_files import ReleaseFolder
from pipeline.hub.transport import require_safe

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

    from pipeline.hub.client import Hub

PULL: Final = {"create_pr": "1"}  # more people may open a pull request than may write
SAMPLE_BYTES: Final = 512  # what the Hub looks at to tell a large file from a text
AT_ONCE: Final = 256  # files in one question, as the client asks


def send(hub: Hub, repo: str, change: ReleaseFolder, heard: xet.ProgressCallback) -> list[str]:
    """Send the large files of a pull request that the Hub lacks; return the names of all large ones.

    Args:
        hub: The Hub; hears when Xet fails.
        repo: The repository.
        change: What is to be committed.
        heard: Hears of bytes.
    """
    large = large_files(hub, repo, change)
    place = xet.storage(hub, repo, None, "write") if large and xet.available() else None
    if place is None or not sent_by_xet(hub, repo, place, change, large, heard):
        send_by_lfs(hub, repo, change, large, heard)
    return large


def commit(hub: Hub, repo: str, lines: Iterable[Mapping[str, Any]], *, pull: bool = False) -> Any:
    """Commit to ``main``, all of it or nothing, and return what the Hub says.

    Args:
        hub: The Hub.
        repo: The repository.
        lines: What `commit_lines` gave.
        pull: Whether it opens a pull request instead.

    Raises:
        HfHubHTTPError: The Hub refuses; 412 where ``main`` is no longer at the parent.
        TransportError: It did not answer, and may have done it all the same.
    """
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return ask(hub, repo, "commit", content, "application/x-ndjson", pull=pull)


def ask(hub: Hub, repo: str, call: str, content: bytes, kind: str, *, pull: bool) -> Any:
    """Ask something of a commit to ``main``, or of a pull request that it opens, and return the answer's JSON."""
    from huggingface_hub.utils import get_session, hf_raise_for_status

    url = f"{hub.endpoint}/api/models/{repo}/{call}/main"
    headers = {**hub.headers(), "Content-Type": kind}
    answer = get_session().post(url, content=content, headers=headers, params=PULL if pull else None)
    hf_raise_for_status(answer)
    return answer.json()


def large_files(hub: Hub, repo: str, change: ReleaseFolder) -> list[str]:
    """Ask which files the Hub keeps outside of git; empty ones never are."""
    from huggingface_hub.utils import chunk_iterable

    found: set[str] = set()
    for names in chunk_iterable(change.files, AT_ONCE):
        rows = [{"path": name, "sample": sample_of(change, name), "size": change.files[name].size} for name in names]
        said = ask(hub, repo, "preupload", json.dumps({"files": rows}).encode(), "application/json", pull=True)
        found |= {file.path for file in Sorted.of(said).files if file.uploadMode == "lfs"}
    return [name for name, file in sorted(change.files.items()) if name in found and file.size]


def sent_by_xet(
    hub: Hub, repo: str, place: xet.Storage, change: ReleaseFolder, names: Sequence[str], heard: xet.ProgressCallback
) -> bool:
    """Send large files in one upload, and say whether the storage took them."""
    try:
        files = {change.folder / name: change.files[name].sha256 for name in names}
        xet.upload(place, files, hub.patience, heard)
    except ConnectionError as error:
        # Its storage may be out of reach, or lack chunks that this machine remembers to have sent there: one that
        # was put back from a copy, from which hf_xet 1.8.0 knows no way back.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        told = f"{len(names)} files go by LFS, for Xet did not take them: {reason}"
        hub.listen(Event("note", "upload", repo, told))
        return False
    return True


def send_by_lfs(hub: Hub, repo: str, change: ReleaseFolder, names: Sequence[str], heard: xet.ProgressCallback) -> None:
    """Send large files over plain HTTP, one after another, each whole or in parts as the Hub says.

    Raises:
        UnreadableAnswerError: The Hub does not want one of them.
    """
    from huggingface_hub.lfs import lfs_upload, post_lfs_batch_info
    from huggingface_hub.utils import chunk_iterable

    read = sent = 0
    endpoint, headers = hub.endpoint, hub.headers()
    for some in chunk_iterable(names, AT_ONCE):
        additions = [addition_of(change, name) for name in some]
        rows, errors, _ = post_lfs_batch_info(
            [addition.upload_info for addition in additions],
            token=None,  # the headers have it
            repo_type="model",
            repo_id=repo,
            endpoint=endpoint,
            headers=headers,
        )
        for row in errors:
            raise UnreadableAnswerError(f"it does not take {row['oid']}: {row['error'].get('message')}")
        wanted = {str(row["oid"]): row for row in rows if row.get("actions")}
        for addition in additions:
            size = addition.upload_info.size
            if action := wanted.pop(addition.upload_info.sha256.hex(), None):
                for step in action["actions"].values():
                    require_safe(str(step.get("href")), endpoint)
                lfs_upload(addition, action, headers=headers, endpoint=endpoint)
                sent += size
            read += size
            heard(read, sent)


def addition_of(change: ReleaseFolder, name: str) -> CommitOperationAdd:
    """Return a file as the client names it, with its known digest, so that it is not read for one again."""
    from huggingface_hub import CommitOperationAdd

    addition = CommitOperationAdd(name, change.folder / name)
    addition.upload_info.sha256 = bytes.fromhex(change.files[name].sha256)
    return addition


def commit_lines(change: ReleaseFolder, large: Collection[str], parent: str, message: str) -> Iterator[dict[str, Any]]:
    """Yield what a commit sends: its header with its parent, then one line a file; of a large one its digest alone."""
    yield {"key": "header", "value": {"summary": message, "description": "", "parentCommit": parent}}
    for name in sorted(change.gone):
        yield {"key": "deletedFile", "value": {"path": name}}
    for name, file in change.files.items():
        if name in large:
            value: dict[str, Any] = {"path": name, "algo": "sha256", "oid": file.sha256, "size": file.size}
            yield {"key": "lfsFile", "value": value}
        else:
            content = base64.b64encode((change.folder / name).read_bytes()).decode()
            yield {"key": "file", "value": {"path": name, "encoding": "base64", "content": content}}


def sample_of(change: ReleaseFolder, name: str) -> str:
    """Return the first bytes of a file in base64."""
    with (change.folder / name).open("rb") as file:
        return base64.b64encode(file.read(SAMPLE_BYTES)).decode()
