"""Routes of the Git LFS batch interface: where to send a large file, and whether it arrived.

https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md. Every file is asked for whole, never in parts.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from localhub.refusals import RefusedError, bad_request
from localhub.repository import Repository
from localhub.storage import is_sha256
from localhub.web import Call

_MOST_BYTES = 500 << 30  # of one file
_MEDIA = "application/vnd.git-lfs+json"


def batch(call: Call) -> Response:
    """Answer for each object with the address to send it to; one that came already gets no action.

    Who may only discuss is answered too, for this call does not tell whether a pull request is meant.

    Raises:
        RefusedError: 406 without the media type, which the specification asks for in both headers.
    """
    repository = call.discussable()
    if {call.headers.get(name, "").partition(";")[0] for name in ("accept", "content-type")} != {_MEDIA}:
        raise RefusedError(406, "NotAcceptable", f"The headers Accept and Content-Type have to be {_MEDIA}.")
    wanted = call.json()
    if wanted.get("operation") != "upload" or wanted.get("hash_algo", "sha256") != "sha256":
        raise bad_request("Only uploads by SHA-256 are possible here; downloads go through resolve.")
    verifying = {"verify": {"href": f"{call.url.removesuffix('/batch')}/verify"}}
    objects: list[dict[str, Any]] = []
    for oid, size in map(_object, call.rows("objects")):
        place = (oid, size, repository.kind, repository.repo_id)
        upload = {"upload": {"href": call.hub.signed("uploads", *place)}} | verifying
        actions = {} if _arrived(call, repository, oid, size) else {"actions": upload}
        objects.append({"oid": oid, "size": size, "authenticated": True, **actions})
    return JSONResponse({"transfer": "basic", "objects": objects, "hash_algo": "sha256"}, media_type=_MEDIA)


def verify(call: Call) -> Response:
    """Say whether an object has arrived whole."""
    repository = call.discussable()
    oid, size = _object(call.json())
    if not _arrived(call, repository, oid, size):
        raise RefusedError(404, "ObjectNotFound", f"The object {oid} has not been uploaded.")
    return JSONResponse({}, media_type=_MEDIA)


def _arrived(call: Call, repository: Repository, oid: str, size: int) -> bool:
    return call.hub.store.objects.has(oid, size) and repository.has_large(oid)


def _object(row: Any) -> tuple[str, int]:
    try:
        oid, size = row["oid"], row["size"]
    except (TypeError, KeyError) as error:
        raise bad_request("An object needs 'oid' and 'size'.") from error
    if not is_sha256(oid) or not isinstance(size, int) or not 0 <= size <= _MOST_BYTES:
        raise bad_request("An object is named by its SHA-256 in hex and its size in bytes, 500 GiB at most.")
    return oid, size
