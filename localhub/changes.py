"""What a commit does to a tree: files added, replaced and deleted, in the order they were sent."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from localhub.bodies import parsed
from localhub.files import git_blob_sha1
from localhub.git import pointer_id
from localhub.gitattributes import LARGE_BYTES, tracks, with_tracked
from localhub.names import checked_path
from localhub.objects import Objects
from localhub.records import Blob
from localhub.refusals import RefusedError, bad_request, entry_not_found

_ATTRIBUTES = ".gitattributes"


@dataclass
class Changes:
    """A commit as it was sent; the contents of its small files are already kept.

    Attributes:
        title: First line of the message.
        description: The rest of the message.
        parent: The commit it must follow, or nothing.
        steps: A path with its new file, or with nothing where the path is deleted; folders end in a slash.
    """

    title: str = ""
    description: str = ""
    parent: str | None = None
    steps: list[tuple[str, Blob | None]] = field(default_factory=list)

    def read(self, line: bytes, objects: Objects) -> None:
        """Take one line of the commit's NDJSON.

        Raises:
            RefusedError: 400 for a line that is none, an unsafe path, or a large file that was never uploaded.
        """
        try:
            row = parsed(line)
            key, value = row["key"], row["value"]
            match key:
                case "header":
                    self._read_header(value)
                case "file":
                    self.steps.append((checked_path(value["path"]), _small_file(value, objects)))
                case "lfsFile":
                    self.steps.append((checked_path(value["path"]), _large_file(value, objects)))
                case "deletedFile":
                    self.steps.append((checked_path(value["path"]), None))
                case "deletedFolder":
                    self.steps.append((checked_path(value["path"].rstrip("/")) + "/", None))
                case _:
                    raise bad_request(f"{key!r} is no operation of a commit.")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise bad_request(f"A line of this commit cannot be read: {error!r}") from error

    def applied_to(self, files: dict[str, Blob], objects: Objects) -> dict[str, Blob]:
        """Return the tree after this commit."""
        after = dict(files)
        for path, blob in self.steps:
            if blob is not None:
                after[path] = blob
            elif path.endswith("/"):
                _delete_folder(after, path)
            elif after.pop(path, None) is None:
                raise entry_not_found(f"A file with this name doesn't exist: {path}")
        _track_large_files(after, [path for path, blob in self.steps if blob and blob.lfs and path in after], objects)
        _refuse_files_under_files(after)
        return after

    def _read_header(self, value: dict[str, Any]) -> None:
        title, _, more = str(value["summary"]).strip().partition("\n")
        description = str(value.get("description") or "").strip()
        self.title = title.strip()
        self.description = "\n\n".join(part for part in (more.strip(), description) if part)
        self.parent = value.get("parentCommit")
        if self.parent is not None and not isinstance(self.parent, str):
            raise bad_request("'parentCommit' has to be the id of a commit.")
        if not self.title:
            raise bad_request("A commit needs a message.")


def small_blob(content: bytes, objects: Objects) -> Blob:
    """Keep a file that git itself holds, and return its entry."""
    return Blob(git_blob_sha1(content), len(content), objects.add(content), lfs=False)


def read_text(files: dict[str, Blob], path: str, objects: Objects) -> str:
    """Return the text of a file; one that is not there is empty."""
    blob = files.get(path)
    return "" if blob is None else objects.read_text(blob.sha256)


def not_uploaded(path: str, sha256: str) -> RefusedError:
    """Refuse a large file whose bytes did not come first."""
    return bad_request(f"The large file of {path!r} was not uploaded: {sha256}")


def _small_file(value: dict[str, Any], objects: Objects) -> Blob:
    if value.get("encoding", "utf-8") == "base64":
        try:
            content = base64.b64decode(value["content"], validate=True)
        except binascii.Error as error:
            raise bad_request(f"The content of {value['path']!r} is not base64.") from error
    else:
        content = value["content"].encode()
    if len(content) > LARGE_BYTES:
        raise bad_request(f"{value['path']!r} is larger than 10 MiB. Please use LFS to store large files.")
    return small_blob(content, objects)


def _large_file(value: dict[str, Any], objects: Objects) -> Blob:
    sha256 = str(value["oid"])
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise bad_request(f"{sha256[:80]!r} is not a SHA-256.")
    size = objects.size(sha256)
    if size is None or value.get("size", size) != size:  # a copy inside the Hub comes without its size
        raise not_uploaded(value["path"], sha256)
    return Blob(pointer_id(sha256, size), size, sha256, lfs=True)


def _delete_folder(files: dict[str, Blob], folder: str) -> None:
    gone = [path for path in files if path.startswith(folder)]
    if not gone:
        raise entry_not_found(f"A folder with this name doesn't exist: {folder}")
    for path in gone:
        del files[path]


def _track_large_files(files: dict[str, Blob], paths: list[str], objects: Objects) -> None:
    """Add large files that no rule covers to ``.gitattributes``, as the Hub does, so that a git clone is right."""
    before = attributes = read_text(files, _ATTRIBUTES, objects)
    for path in paths:
        if not tracks(attributes, path):
            attributes = with_tracked(attributes, path)
    if attributes != before:
        files[_ATTRIBUTES] = small_blob(attributes.encode(), objects)


def _refuse_files_under_files(files: dict[str, Blob]) -> None:
    for path in files:
        above = path.rpartition("/")[0]
        while above:
            if above in files:
                raise RefusedError(400, "BadRequest", f"{above!r} is a file, so {path!r} cannot be below it.")
            above = above.rpartition("/")[0]
