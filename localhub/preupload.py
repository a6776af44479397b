"""Route that tells a client, before it uploads, what is large and what is here already."""

from __future__ import annotations

import base64
from typing import Any

from starlette.responses import JSONResponse, Response

from localhub.changes import read_text
from localhub.gitattributes import LARGE_BYTES, is_binary, tracks
from localhub.names import checked_path
from localhub.refusals import bad_request
from localhub.web import Call


def preupload(call: Call) -> Response:
    """Answer for each file: how to upload it, and the id of what its path holds now."""
    files = call.committable().tree_at(call.where["rev"]).files
    attributes = read_text(files, ".gitattributes", call.hub.store.objects)
    answers = []
    for path, size, sample in map(_asked, call.rows("files")):
        large = size > LARGE_BYTES or tracks(attributes, path) or is_binary(sample)
        held = files.get(path)
        answers.append(
            {
                "path": path,
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": False,
                "oid": None if held is None else held.sha256 if held.lfs else held.oid,
            }
        )
    return JSONResponse({"files": answers})


def _asked(row: dict[str, Any]) -> tuple[str, int, bytes]:
    try:
        return checked_path(row["path"]), int(row["size"]), base64.b64decode(row.get("sample") or "")
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise bad_request(f"A file of this request cannot be read: {error!r}") from error
