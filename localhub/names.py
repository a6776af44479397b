"""What may be called what: kinds of repositories, repository ids, paths inside a repository, names of refs."""

from __future__ import annotations

import re

from localhub.refusals import bad_request

KINDS = ("models", "datasets")
_RESERVED = {"api", "oauth", *KINDS}  # what addresses begin with is nobody's name
MAIN = "refs/heads/main"

_REPO_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)
_REF_FORBIDS = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)")
_COMMIT = re.compile(r"[0-9a-fA-F]{40}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SEGMENT_BYTES = 255  # what common file systems take for one name
_PATH_BYTES = 1024


def kind_of(repo_type: str | None) -> str:
    """Return the plural that addresses use for a repository type; a missing type means a model."""
    kind = f"{repo_type or 'model'}s"
    if kind not in KINDS:
        raise bad_request(f"{repo_type!r} is not a type of repository.")
    return kind


def url_prefix(kind: str) -> str:
    """Return what stands before the repository id in web addresses: nothing for models."""
    return "" if kind == "models" else f"{kind}/"


def checked_repo_id(namespace: str, name: str) -> str:
    """Return ``namespace/name`` after the rules that the client's ``validate_repo_id`` has too."""
    for part in (namespace, name):
        if not _REPO_NAME.fullmatch(part) or "--" in part or ".." in part or part.endswith(".git"):
            raise bad_request(f"{namespace}/{name} is not a valid repository id.")
    if namespace in _RESERVED:
        raise bad_request(f"Nobody can be called {namespace!r} here.")
    return f"{namespace}/{name}"


def checked_path(path: str) -> str:
    """Return a path that means one file below the root of a checkout on every system, or refuse it."""
    segments = path.split("/")
    if (
        any(segment in {"", ".", ".."} or segment.lower() == ".git" for segment in segments)
        or "\\" in path
        or _CONTROL.search(path)
        or len(path.encode()) > _PATH_BYTES
        or any(len(segment.encode()) > _SEGMENT_BYTES for segment in segments)
    ):
        raise bad_request(f"The path {path[:_SEGMENT_BYTES]!r} is not allowed in a repository.")
    return path


def checked_ref_name(name: str) -> str:
    """Return the short name of a branch or tag after git's own rules (``git check-ref-format``)."""
    if not name or name[0] in "-./" or name[-1] in "./" or name.startswith("refs/") or _REF_FORBIDS.search(name):
        raise bad_request(f"Invalid reference for a branch or tag: {name!r}")
    if len(name.encode()) > _SEGMENT_BYTES:
        raise bad_request("The name of this branch or tag is too long.")
    if _COMMIT.fullmatch(name):
        raise bad_request("A branch or tag cannot look like a commit, for others pin commits.")
    return name
