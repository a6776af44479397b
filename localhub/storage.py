"""The second origin: large files come and go here, without tokens, at addresses that only the Hub can make.

An address names its object, carries a signature and expires: a SHA-256, which every listing shows, opens nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from localhub.arriving import receive
from localhub.download import StreamedFile
from localhub.refusals import entry_not_found
from localhub.web import Hub, hub_of
from localhub.xet.plain import send

if TYPE_CHECKING:
    from starlette.requests import Request

_OBJECT = ("sha256", "size", "kind", "ns", "name")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_sha256(value: object) -> bool:
    """Say whether a value is a SHA-256 in lower-case hex."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


async def get(request: Request) -> Response:
    """Send an object, or a range of it."""
    hub = _checked(request, "objects", "sha256")
    sha256 = request.path_params["sha256"]
    path = hub.store.objects.path(sha256)
    if path.is_file():
        return StreamedFile(path, headers={"ETag": f'"{sha256}"'}, media_type="application/octet-stream")
    file = await run_in_threadpool(hub.store.objects.xet.by_sha256, sha256)
    if file is None:
        raise entry_not_found(f"There is no object {sha256}.")
    return send(request, hub.store.objects.xet, file)


async def put(request: Request) -> Response:
    """Take a whole object; it is kept only if it is the one announced."""
    hub = _checked(request, "uploads", *_OBJECT)
    sha256, size = request.path_params["sha256"], int(request.path_params["size"])
    with hub.store.objects.aside() as arriving:
        await receive(request, arriving.write, size)
        await run_in_threadpool(hub.store.objects.keep, arriving, sha256, size)
        kind, ns, name = (request.path_params[part] for part in ("kind", "ns", "name"))
        await run_in_threadpool(hub.store.find(kind, f"{ns}/{name}").add_large, [sha256])
    return Response(headers={"ETag": f'"{sha256}"'})


def _checked(request: Request, verb: str, *names: str) -> Hub:
    """Return the Hub if it signed the address of this request, not too long ago."""
    hub = hub_of(request)
    hub.check_signed(verb, request.path_params, *names)
    return hub
