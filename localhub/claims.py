"""Who has a large file: its SHA-256 alone opens nothing, for listings show it to people who may not have the bytes.

A repository keeps two kinds of facts as empty files, which go where it goes:

    claims/commits/<sha256>   one of its commits has the file
    claims/writers/<sha256>   the bytes arrived whole for it, from somebody who may write to it
    claims/<caller>/<sha256>  the same from somebody who may only open pull requests
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from localhub.access import User
from localhub.names import KINDS
from localhub.refusals import RefusedError
from localhub.repository import COMMITS, Repository
from localhub.web import Call, may_download, may_see

_WRITERS = "writers"


def claimant(caller: User, repository: Repository) -> str:
    """Return for whom bytes arrive: who may write shares them with all who may, anybody else has them alone."""
    if caller.may_write(repository.kind, repository.repo_id):
        return _WRITERS
    return hashlib.sha256(caller.name.encode()).hexdigest()[:32]


def claimed(call: Call, repository: Repository, digests: set[str]) -> set[str]:
    """Return those of some large files that the caller may put into a commit without sending them again.

    That is what arrived for the repository or is in its commits, and what the caller may download from any other.
    """
    by = claimant(call.caller, repository)
    places = (by, COMMITS) if by == _WRITERS else (by,)
    own = {sha256 for sha256 in digests if any(repository.has_claim(place, sha256) for place in places)}
    return own | _downloadable(call, digests - own)


def _downloadable(call: Call, digests: set[str]) -> set[str]:
    found: set[str] = set()
    if digests:
        for repository in (repository for kind in KINDS for repository in call.hub.store.all(kind)):
            here = {sha256 for sha256 in digests - found if repository.has_claim(COMMITS, sha256)}
            with suppress(RefusedError):  # a repository that went meanwhile
                if here and may_see(call.caller, repository) and may_download(call.caller, repository):
                    found |= here
    return found
