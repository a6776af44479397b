"""Routes of the Git LFS batch interface: where to send a large file, and whether it arrived.

https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md, with the Hub's way of asking for parts.
"""

from __future__ import annotations

import secrets
from typing import Any

from starlette.responses import JSONResponse, Response

from localhub.claims import claimant, claimed
from localhub.refusals import RefusedError, bad_request
from localhub.repository import Repository
from localhub.storage import is_sha256
from localhub.web import Call

_MOST_BYTES = 500 << 30  # of one file; larger ones would need more parts than anybody sends
_MEDIA = "application/vnd.git-lfs+json"


def batch(call: Call) -> Response:
    """Answer for each object with the address to send it to; one that came already, and to the caller, gets no action.

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
    asked = [_object(row) for row in call.rows("objects")]
    here = claimed(call, repository, {oid for oid, size in asked if call.hub.store.objects.has(oid, size)})
    objects: list[dict[str, Any]] = []
    for oid, size in asked:
        actions = {} if oid in here else {"actions": _actions(call, repository, oid, size) | verifying}
        objects.append({"oid": oid, "size": size, "authenticated": True, **actions})
    return JSONResponse({"transfer": "basic", "objects": objects, "hash_algo": "sha256"}, media_type=_MEDIA)


def verify(call: Call) -> Response:
    """Say whether an object has arrived whole."""
    repository = call.discussable()
    oid, size = _object(call.json())
    if not (call.hub.store.objects.has(oid, size) and claimed(call, repository, {oid})):
        raise RefusedError(404, "ObjectNotFound", f"The object {oid} has not been uploaded.")
    return JSONResponse({}, media_type=_MEDIA)


def _actions(call: Call, repository: Repository, oid: str, size: int) -> dict[str, Any]:
    """Return where to send an object, whole or in parts; the address says for which repository it arrives."""
    hub = call.hub
    place = ("uploads", oid, size, repository.kind, repository.repo_id, claimant(call.caller, repository))
    if size <= hub.limits.single_bytes:
        return {"upload": {"href": hub.signed(*place)}}
    session = secrets.token_hex(16)
    count = -(-size // hub.limits.part_bytes)
    parts = {str(number): hub.signed(*place, session, number) for number in range(1, count + 1)}
    header = {"chunk_size": str(hub.limits.part_bytes), **parts}
    return {"upload": {"href": hub.signed(*place, session), "header": header}}


def _object(row: Any) -> tuple[str, int]:
    try:
        oid, size = row["oid"], row["size"]
    except (TypeError, KeyError) as error:
        raise bad_request("An object needs 'oid' and 'size'.") from error
    if not is_sha256(oid) or not isinstance(size, int) or not 0 <= size <= _MOST_BYTES:
        raise bad_request("An object is named by its SHA-256 in hex and its size in bytes, 500 GiB at most.")
    return oid, size
