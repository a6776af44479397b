"""Repositories as people paste them: web addresses, ``hf://`` and ``name@revision`` beside the plain name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pipeline.errors import RecipeError

PUBLIC = ("huggingface.co", "hf.co", "www.huggingface.co")  # one Hub, whatever mirror HF_ENDPOINT names
KINDS = ("models", "datasets", "spaces")
VIEWS = ("tree", "blob", "resolve", "raw", "commit", "commits", "edit")  # what a page of the Hub names a revision after
PLAIN = "Write the repository as 'namespace/name'"


@dataclass(frozen=True)
class Pasted:
    """A repository that was written in another way than by its name.

    Attributes:
        host: The Hub of a web address, with its port; empty where no Hub is named.
        kind: ``models``, ``datasets`` or ``spaces``.
        repo: The repository.
        revision: The commit, branch or tag, if one is named.
        path: A file or folder in it; empty where none is named.
    """

    host: str
    kind: str
    repo: str
    revision: str | None
    path: str = ""


def pasted(text: str) -> Pasted | None:
    """Return what a text means that is no plain ``namespace/name``; None where it is one, or means nothing known."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() == "hf":
        host, path = "", rest
    elif separator and scheme.lower() in {"http", "https"}:
        try:
            address = urlsplit(text)
        except ValueError:  # such as a bracket that is never closed
            return None
        host, path = address.netloc.rpartition("@")[2].lower(), address.path
    elif not separator and "@" in text:
        host, path = "", text
    else:
        return None
    parts = [unquote(part) for part in path.strip("/").split("/")]
    kind = parts.pop(0) if parts[0] in KINDS else "models"
    name, _, revision = "/".join(parts[:2]).partition("@")
    named = bool(revision) or (parts[2:3] and parts[2] in VIEWS)
    following = "/".join([revision, *parts[2:]] if revision else parts[3:] if named else parts[2:])
    found = first_revision(following) if named else None
    return Pasted(host, kind, name.removesuffix(".git"), found, following[len(found or "") :].strip("/"))


def read_path(text: str) -> tuple[str, str]:
    """Return a repository as a command line names it, and the path of a file or folder in it, where one follows."""
    if found := pasted(text):
        return text, found.path
    parts = text.split("/", 2)
    return "/".join(parts[:2]), "".join(parts[2:]).strip("/")


def first_revision(path: str) -> str | None:
    """Return the revision with which a path of the Hub begins; a reference such as ``refs/pr/4`` has slashes itself."""
    return (re.match(r"refs/(?:pr|heads|convert|tags)/[^/]+|[^/]+", path) or [None])[0]


def read_name(text: str, revision: str | None, endpoint: str) -> tuple[str, str | None]:
    """Return the repository and the revision that a command line means.

    Args:
        text: The repository: its name, ``name@revision``, or an address of its page on the Hub.
        revision: The revision that an option names.
        endpoint: The address of the Hub that is asked.

    Raises:
        RecipeError: It names no model, another Hub, or another revision than the option.
    """
    found = pasted(text) or Pasted("", "models", text, None)
    if found.kind != "models":
        remedy = f"{PLAIN} of a model."
        raise RecipeError(f"This names one of the Hub's {found.kind}, not a model.", where=text, remedy=remedy)
    if found.host and found.host not in (*PUBLIC, urlsplit(endpoint).netloc.lower()):
        remedy = f"Set HF_ENDPOINT to the address of that Hub and give {found.repo} alone."
        raise RecipeError(f"This is a page of {found.host}, and {endpoint} is asked.", where=text, remedy=remedy)
    if not re.fullmatch(r"(\w[\w.-]*/)?\w[\w.-]*", found.repo, re.ASCII):
        remedy = f"{PLAIN}, or a folder with './' before it."
        raise RecipeError("This is neither a folder that is there nor a repository.", where=text, remedy=remedy)
    if found.revision and revision and found.revision != revision:
        what = f"Two revisions are named, {found.revision} and {revision}."
        raise RecipeError(what, where=text, remedy="Name one.")
    return found.repo, revision or found.revision
