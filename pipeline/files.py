"""Files on disk: atomic writes, safe relative paths, digests, manifests, canonical JSON."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import CannotHereError, SourceError

PIECE = 1 << 20  # bytes read at a time where a file is hashed or copied
# What git and huggingface_hub keep beside a model's own files.
SKIPPED: Final = frozenset({".git", ".cache", ".gitattributes"})
UNSAFE: Final = re.compile(r"[\\:\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # the last ones are bytes that are no text


class FileEntry(BaseModel):
    """One file of a manifest: its size in bytes and its SHA-256 as 64 hex digits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    sha256: str


class ListedFile(BaseModel):
    """A file as its place lists it: size in bytes, and the digest by which the place vouches for it.

    The Hub names large files by SHA-256 and small ones by git's blob SHA-1; the files of a folder on this machine have
    a BLAKE3, which a processor without SHA instructions computes ten times as fast, or nothing but their size where
    nobody hashed them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    sha256: str | None = None
    git_sha1: str | None = None
    blake3: str | None = Field(default=None, exclude_if=lambda value: value is None)  # plans of a Hub's files lack it

    @property
    def kind(self) -> Literal["sha256", "git_sha1", "blake3"]:
        """Which digest the place vouches by; ``blake3`` where it vouches by none."""
        if self.sha256 is not None:
            return "sha256"
        return "blake3" if self.git_sha1 is None else "git_sha1"

    @property
    def digest(self) -> str | None:
        """The digest in hex, whichever it is."""
        return self.sha256 or self.git_sha1 or self.blake3

    def hashing(self) -> Any:
        """Return a hash that gives the digest of this kind once it was fed the file's bytes."""
        if self.kind == "git_sha1":
            return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        return hashlib.sha256() if self.kind == "sha256" else blake3()

    def is_of(self, content: bytes) -> bool:
        """Return whether a file with this content is the listed one, as far as the list tells."""
        found = self.hashing()
        found.update(content)
        return len(content) == self.size and self.digest in {None, found.hexdigest()}

    def describes(self, path: Path) -> bool:
        """Return whether a file on disk is the listed one, as far as the list tells."""
        if path.stat().st_size != self.size:
            return False
        return self.digest is None or hashed(path, self.hashing())[0] == self.digest


class BuiltFile(BaseModel):
    """A file that was made on this machine: its size in bytes and its BLAKE3 as 64 hex digits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    blake3: str


class Manifest(BaseModel):
    """Every file of a folder by POSIX path relative to it, sorted by path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, FileEntry]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files.values())


def canonical_json(value: Any) -> bytes:
    """Return the one JSON encoding of a value: sorted keys, no spaces, UTF-8, no NaN or Infinity."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON as 64 hex digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def pretty_json(value: Any) -> bytes:
    """Return JSON for people: sorted keys, two spaces, a final newline; as reproducible as the canonical form."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def hashed(path: Path, *hashes: Any) -> list[str]:
    """Feed a file to hashes, in one reading and in constant memory, and return their digests in hex."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            for found in hashes:
                found.update(piece)
    return [found.hexdigest() for found in hashes]


def sha256_file(path: Path) -> str:
    """Return a file's SHA-256 as 64 hex digits, in constant memory."""
    return hashed(path, hashlib.sha256())[0]


def git_blob_sha1(content: bytes) -> str:
    """Return the object id git gives to a blob of these bytes; the Hub names its small files by it."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def manifest_of(folder: Path, known: Mapping[str, FileEntry] | None = None) -> Manifest:
    """Hash every file under a folder that is not known yet.

    Args:
        folder: The folder.
        known: Files that were hashed already, by their path in it.

    Raises:
        SourceError: The folder holds a symbolic link or something that is no plain file.
    """
    entries = {}
    for path in files_under(folder):
        name = path.relative_to(folder).as_posix()
        there = known.get(name) if known else None
        entries[name] = there or FileEntry(size=path.stat().st_size, sha256=sha256_file(path))
    return Manifest(files=entries)


def files_under(folder: Path) -> list[Path]:
    """List the plain files under a folder, sorted by relative POSIX path.

    Raises:
        SourceError: The folder holds a symbolic link or something that is no plain file.
    """
    found = []
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise SourceError("This is a link or a device, not a plain file.", where=str(path), remedy="Remove it.")
        if path.is_file():
            found.append(path)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def files_of_model(folder: Path, dangling: list[str] | None = None) -> dict[str, Path]:
    """List the files of somebody's model folder by POSIX path, as a Hub would list them; links are followed.

    The folder may be a git clone, or a snapshot in the cache of ``huggingface_hub``, whose files are links to blobs
    beside it. What a link leads to is read and published under the link's name, so no link may lead out: its end is a
    plain file of the folder itself, or a blob of the cache that the folder is a snapshot of.

    Args:
        folder: The folder.
        dangling: Takes the links that lead nowhere, by POSIX path; where it is left out, there may be none.

    Raises:
        SourceError: It holds a link that leads elsewhere or nowhere, or something that is no file.
    """
    root = folder.resolve()
    blobs = root.parent.parent / "blobs" if root.parent.name == "snapshots" else root
    found = {}
    for here, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED]
        links = [name for name in folders if (Path(here) / name).is_symlink()]
        for name in sorted({*names, *links} - SKIPPED):
            path = Path(here) / name
            if dangling is not None and path.is_symlink() and not path.exists():
                dangling.append(path.relative_to(root).as_posix())
                continue
            require_file_within(path, (root, blobs))
            found[path.relative_to(root).as_posix()] = folder / path.relative_to(root)
    return dict(sorted(found.items()))


def require_file_within(path: Path, roots: tuple[Path, ...]) -> None:
    """Refuse what is no plain file, and a link that ends outside of these folders.

    Raises:
        SourceError: It is one.
    """
    end = path.resolve()
    inside = any(end.is_relative_to(root) and SKIPPED.isdisjoint(end.relative_to(root).parts) for root in roots)
    if end.is_file() and inside:
        return
    if not path.is_symlink():
        raise SourceError("This is neither a file nor a folder.", where=str(path), remedy="Remove it.")
    if not end.exists():
        remedy = "Download it again, or remove the link."
        raise SourceError("This link leads nowhere.", where=str(path), remedy=remedy)
    raise SourceError(
        f"This link leads out of its folder, to {end}." if not inside else "This is a link to a folder.",
        where=str(path),
        remedy="Put a copy in its place: what a link leads to would be published under its name.",
    )


def safe_relative(name: str, where: str = "") -> PurePosixPath:
    """Return a name from elsewhere as a path that stays inside the folder it is joined to.

    Raises:
        SourceError: The name is absolute, climbs out, or is spelled so that a file system may read it otherwise.
    """
    path = PurePosixPath(name)
    bad_part = any(part in {"", ".", "..", ".git"} for part in name.split("/"))
    if not name or path.is_absolute() or bad_part or UNSAFE.search(name):
        raise SourceError(
            f"The file name {name!r} would leave its folder or means different files on different systems.",
            where=where,
            remedy="Nothing of it was downloaded; do not trust this source, or rename the file if it is yours.",
        )
    return path


def safe_listing(names: Iterable[str], where: str = "") -> None:
    """Refuse names that would not all be files of their own under one folder.

    Where a file system folds case or composes letters, two names may be one file, or a file and another's folder.

    Raises:
        SourceError: With the first such name.
    """
    seen: dict[str, tuple[str, bool]] = {}
    for name in sorted(names):
        path = safe_relative(name, where)
        for place in (path, *path.parents[:-1]):
            this = (str(place), place == path)
            other = seen.setdefault(folded(place), this)
            if other != this:
                what = f"{other[0]!r} and {str(place)!r} of {name!r} are one place on some disks."
                remedy = "Do not trust this repository, or rename the file if it is yours."
                raise SourceError(what, where=where, remedy=remedy)


def folded(path: PurePosixPath) -> str:
    """Return a path as a file system sees it that tells neither case nor the composition of letters."""
    return unicodedata.normalize("NFC", str(path).casefold())


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a disk that takes no bytes, or a place that is not ours to write, into an error that says how to go on."""
    try:
        yield
    except PermissionError as error:
        where = str(error.filename or path)
        remedy = "Give a folder that may be written with --home."
        raise CannotHereError("This place cannot be written.", where=where, remedy=remedy) from error
    except NotADirectoryError as error:
        raise CannotHereError(
            "This is a file where a folder is needed.", where=str(error.filename or path), remedy="Give another --home."
        ) from error
    except (FileExistsError, IsADirectoryError) as error:
        what = f"Something else has this name ({os.strerror(error.errno or errno.EEXIST)})."
        remedy = "Move it away, or name another place."
        raise CannotHereError(what, where=str(error.filename2 or error.filename or path), remedy=remedy) from error
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}:
            raise
        raise CannotHereError(
            f"The disk took no more bytes ({os.strerror(error.errno)}).",
            where=str(path),
            remedy="Free some room or give another folder with --home, then run the same command again: it continues.",
        ) from error


def require_readable_name(path: Path, remedy: str) -> None:
    """Refuse a place whose path is no UTF-8: safetensors opens no file there, and no document can name it.

    Raises:
        CannotHereError: It is none.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise CannotHereError("This path is not UTF-8.", where=str(path), remedy=remedy) from error


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a whole file or nothing: aside, flushed to the disk, then renamed over the old one.

    Args:
        path: The file.
        content: What it is to hold.
        mode: Who may do what with it.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(aside).chmod(mode)
            Path(aside).replace(path)
            flush(path.parent)
        except BaseException:  # Ctrl-C, too, leaves nothing behind
            Path(aside).unlink(missing_ok=True)
            raise


def flush(path: Path) -> None:
    """See a file's content, or a folder's entries, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def empty(folder: Path) -> None:
    """Remove everything under a folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def copy(origin: Path, to: Path) -> None:
    """Put a file's content at another place, so that a change of one leaves the other as it is."""
    with disk_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin, to)


def link_or_copy(origin: Path, to: Path) -> None:
    """Put a file's content at another place: a hard link where the disk allows it, else a copy."""
    with disk_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            to.hardlink_to(origin.resolve())  # a hard link to a link would be a link, which leads nowhere from there
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}:
                raise
            shutil.copyfile(origin, to)


@contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """Return a folder that is empty, whatever a killed run left in it, and gone afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    with disk_errors(folder):
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def human_size(count: float) -> str:
    """Return a number of bytes for people, in powers of ten as the Hub counts."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} GB"


def counted(count: int, noun: str) -> str:
    """Return a count with what is counted, such as ``1 seed`` and ``1,024 prompts``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
