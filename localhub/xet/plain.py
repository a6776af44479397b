"""Files that came by Xet, for clients that know nothing of it: an answer like that of a file, with a range if asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.responses import Response, StreamingResponse

from localhub.refusals import RefusedError
from localhub.xet.depot import Depot
from localhub.xet.files import XetFile

if TYPE_CHECKING:
    from starlette.requests import Request

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


def send(request: Request, depot: Depot, file: XetFile) -> Response:
    """Send a file, or a range of it, decoding its xorbs on the way."""
    span = byte_range(request.headers.get("range"), file.size)
    start, stop = span or (0, file.size)
    headers = {"Content-Length": str(stop - start), "Accept-Ranges": "bytes", "ETag": f'"{file.sha256}"'}
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    status, media_type = 200 if span is None else 206, "application/octet-stream"
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(depot.contents(file, start, stop), status, headers, media_type)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte that a ``Range`` header wants and the one behind the last.

    Without a header, and with one of several ranges or none that can be read, everything is meant (RFC 9110, 14.2).

    Raises:
        RefusedError: 416 when it begins behind the end.
    """
    wanted = _RANGE.fullmatch(header.strip()) if header else None
    if wanted is None or not (wanted[1] or wanted[2]):
        return None
    start = int(wanted[1]) if wanted[1] else max(size - int(wanted[2]), 0)
    stop = min(int(wanted[2]) + 1, size) if wanted[1] and wanted[2] else size
    if start >= stop:
        refusal = RefusedError(416, "RangeNotSatisfiable", f"The file has {size} bytes.")
        refusal.headers["Content-Range"] = f"bytes */{size}"
        raise refusal
    return start, stop
