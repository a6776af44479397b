"""Routes of the Git LFS batch interface: where to send a large file, and whether it arrived.

https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md, with the Hub's way of asking for parts.
"""

from __future__ import annotations

import secrets
from typing import Any

from starlette.responses import JSONResponse, Response

from pipeline.hub.local.refusals import RefusedError, bad_request
from pipeline.hub.local.storage import is_sha256
from pipeline.hub.local.web import Call, Hub

_MOST_BYTES = 500 << 30  # of one file; larger ones would need more parts than anybody sends
_MEDIA = "application/vnd.git-lfs+json"


def batch(call: Call) -> Response:
    """Answer for each object with the address to send it to; one that is here already gets no action."""
    call.writable()
    wanted = call.json()
    if wanted.get("operation") != "upload" or wanted.get("hash_algo", "sha256") != "sha256":
        raise bad_request("Only uploads by SHA-256 are possible here; downloads go through resolve.")
    verify = f"{call.url.removesuffix('/batch')}/verify"
    objects = [_instructions(call.hub, row, verify) for row in call.rows("objects")]
    return JSONResponse({"transfer": "basic", "objects": objects, "hash_algo": "sha256"}, media_type=_MEDIA)


def verify(call: Call) -> Response:
    """Say whether an object has arrived whole."""
    call.writable()
    oid, size = _object(call.json())
    if not call.hub.store.objects.has(oid, size):
        raise RefusedError(404, "ObjectNotFound", f"The object {oid} has not been uploaded.")
    return JSONResponse({}, media_type=_MEDIA)


def _instructions(hub: Hub, row: Any, verify: str) -> dict[str, Any]:
    oid, size = _object(row)
    answer: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
    if hub.store.objects.has(oid, size):
        return answer
    if size <= hub.limits.single_bytes:
        upload: dict[str, Any] = {"href": hub.signed("uploads", oid, size)}
    else:
        session = secrets.token_hex(16)
        count = -(-size // hub.limits.part_bytes)
        parts = {str(number): hub.signed("uploads", oid, size, session, number) for number in range(1, count + 1)}
        header = {"chunk_size": str(hub.limits.part_bytes), **parts}
        upload = {"href": hub.signed("uploads", oid, size, session), "header": header}
    return answer | {"actions": {"upload": upload, "verify": {"href": verify}}}


def _object(row: Any) -> tuple[str, int]:
    try:
        oid, size = row["oid"], row["size"]
    except (TypeError, KeyError) as error:
        raise bad_request("An object needs 'oid' and 'size'.") from error
    if not is_sha256(oid) or not isinstance(size, int) or not 0 <= size <= _MOST_BYTES:
        raise bad_request("An object is named by its SHA-256 in hex and its size in bytes, 500 GiB at most.")
    return oid, size
