"""The second origin: large files come and go here, without tokens, at addresses that only the Hub can make.

An address names its object, carries a signature and expires: a SHA-256, which every listing shows, opens nothing.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from localhub.arriving import receive
from localhub.download import StreamedFile
from localhub.refusals import bad_request, entry_not_found
from localhub.repository import Repository
from localhub.web import Hub, hub_of
from localhub.xet.plain import send

if TYPE_CHECKING:
    from starlette.requests import Request

_OBJECT = ("sha256", "size", "kind", "ns", "name", "by")
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
    with hub.store.objects.incoming() as arriving:
        await receive(request, arriving.write, size)
        await run_in_threadpool(arriving.keep, sha256, size)
    await run_in_threadpool(_claim, hub, request)
    return Response(headers={"ETag": f'"{sha256}"'})


async def put_part(request: Request) -> Response:
    """Take one part of an object; sending a part again replaces it."""
    hub = _checked(request, "uploads", *_OBJECT, "session", "part")
    number, size, most = int(request.path_params["part"]), int(request.path_params["size"]), hub.limits.part_bytes
    path = hub.store.objects.part(request.path_params["session"], number)
    digest = hashlib.sha256()

    def take(piece: bytes) -> None:
        digest.update(piece)
        arriving.write(piece)

    with hub.store.objects.incoming() as arriving:
        await receive(request, take, min(most, size - (number - 1) * most))
        await run_in_threadpool(arriving.move_to, path)
    return Response(headers={"ETag": f'"{digest.hexdigest()}"'})


async def complete(request: Request) -> Response:
    """Join the parts to the object they were announced as."""
    hub = _checked(request, "uploads", *_OBJECT, "session")
    sha256, size = request.path_params["sha256"], int(request.path_params["size"])
    objects, session = hub.store.objects, request.path_params["session"]
    repository, by = _addressee(hub, request)
    if objects.has(sha256, size) and repository.has_claim(by, sha256):  # the answer to an earlier completion was lost
        return JSONResponse({})
    count = -(-size // hub.limits.part_bytes)
    missing = [number for number in range(1, count + 1) if not objects.part(session, number).is_file()]
    if missing:
        raise bad_request(f"Parts {missing} of {sha256} are missing.")
    await run_in_threadpool(objects.join, session, count, sha256, size)
    await run_in_threadpool(_claim, hub, request)
    return JSONResponse({})


def _claim(hub: Hub, request: Request) -> None:
    """Remember for whom an object arrived; only this lets them commit it."""
    repository, by = _addressee(hub, request)
    repository.claim(by, [request.path_params["sha256"]])


def _addressee(hub: Hub, request: Request) -> tuple[Repository, str]:
    kind, ns, name, by = (request.path_params[part] for part in ("kind", "ns", "name", "by"))
    return hub.store.find(kind, f"{ns}/{name}"), by


def _checked(request: Request, verb: str, *names: str) -> Hub:
    """Return the Hub if it signed the address of this request, not too long ago."""
    hub = hub_of(request)
    hub.check_signed(verb, request.path_params, *names)
    return hub
