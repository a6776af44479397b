"""Routes of the content-addressed storage that Xet clients talk to, on the origin of large files.

https://huggingface.co/docs/xet/api. Only the tokens of ``tokens.py`` come here, never those of the Hub. Version 2 of
reconstructions and shards and grants for xorbs are not known here; clients go on with version 1. Nor is told which
chunks are here already: what a client does not remember itself, it sends again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from localhub.arriving import receive
from localhub.download import StreamedFile
from localhub.refusals import RefusedError, bad_request, entry_not_found
from localhub.web import Hub, hub_of
from localhub.xet.files import XetFile, reconstruction
from localhub.xet.hashes import is_name
from localhub.xet.plain import byte_range
from localhub.xet.shards import SHARD_BYTES, read_shard
from localhub.xet.tokens import Right, right_of
from localhub.xet.xorbs import XORB_BYTES

if TYPE_CHECKING:
    from starlette.requests import Request


async def put_xorb(request: Request) -> Response:
    """Take a xorb; it is kept only if its chunks are those that its name stands for."""
    hub, name = hub_of(request), _name(request)
    right_of(hub, request, "write")
    depot = hub.store.objects.xet
    with hub.store.objects.aside() as arriving:
        await receive(request, arriving.write, XORB_BYTES)
        inserted = not depot.has_xorb(name)
        if inserted:
            await run_in_threadpool(depot.keep, arriving, name)
    return JSONResponse({"was_inserted": inserted})


async def put_shard(request: Request) -> Response:
    """Take the files of a shard for one repository, each after its terms, names and bytes were checked."""
    hub, shard = hub_of(request), bytearray()
    right = right_of(hub, request, "write")
    async for piece in request.stream():
        shard += piece
        if len(shard) > SHARD_BYTES:
            raise RefusedError(413, "PayloadTooLarge", f"No more than {SHARD_BYTES} bytes are taken at once.")

    def register() -> None:
        files = list(read_shard(shard))
        for sent in files:
            hub.store.objects.xet.register(sent)
        hub.store.find(right.kind, right.repo_id).add_large({sent.sha256 for sent in files})

    await run_in_threadpool(register)
    return JSONResponse({"result": 1})


def reconstruct(request: Request) -> Response:
    """Answer with the chunks that make up a file or a range of it, and where to get them."""
    hub = hub_of(request)
    file = _readable(hub, right_of(hub, request, "read"), _name(request))
    start, stop = byte_range(request.headers.get("range"), file.size) or (0, file.size)

    def address(xorb: str, first: int, last: int) -> str:
        return hub.signed("xorbs", f"{first}-{last}", xorb)

    return JSONResponse(reconstruction(file, start, stop, hub.store.objects.xet.xorb, address))


def get_xorb(request: Request) -> Response:
    """Send bytes of a xorb from an address that a reconstruction gave, as long as that is valid."""
    hub, where = hub_of(request), request.path_params
    hub.check_signed("xorbs", where, "span", "hash")
    depot, (first, last) = hub.store.objects.xet, map(int, where["span"].split("-"))
    xorb, path = depot.xorb(where["hash"]), depot.xorb_path(where["hash"])
    span = byte_range(request.headers.get("range"), path.stat().st_size)
    if span is None or span[0] < xorb.offset(first) or span[1] > xorb.offset(last):
        raise RefusedError(403, "OutsideOfAddress", f"This address is for the chunks {first} to {last} alone.")
    xorb.check(first, last)
    return StreamedFile(path, headers={"ETag": f'"{where["hash"]}"'}, media_type="application/octet-stream")


async def telemetry(_: Request) -> Response:
    """Hear what clients tell of their transfers, and keep none of it."""
    return Response(status_code=204)


def _readable(hub: Hub, right: Right, name: str) -> XetFile:
    """Return a file that is in the commit a token was given for; others do not exist for who has it."""
    file = hub.store.objects.xet.file(name)
    tree = hub.store.find(right.kind, right.repo_id).tree_at(str(right.commit))
    if file is None or all(blob.sha256 != file.sha256 for blob in tree.files.values()):
        raise entry_not_found(f"There is no file {name} at this revision.")
    return file


def _name(request: Request) -> str:
    name: str = request.path_params["hash"]
    if not is_name(name):
        raise bad_request("A hash has 64 hex digits.")
    return name
