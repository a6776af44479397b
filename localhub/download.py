"""Routes that resolve a path of a revision to its bytes: small files from a cache, large ones on the storage origin."""

from __future__ import annotations

import gzip
from mimetypes import guess_type
from urllib.parse import quote

from starlette.responses import FileResponse, Response, StreamingResponse

from localhub.files import PIECE
from localhub.records import Blob
from localhub.refusals import entry_not_found
from localhub.repository import Repository
from localhub.web import Call

_SHOWN = ("text/html", "application/xhtml+xml")  # a stranger's page is text on the Hub, and runs nowhere
_PACKED = ("text/", "application/json", "application/xml", "image/svg+xml")  # what a content network compresses


class StreamedFile(FileResponse):
    """A file or ranges of it, read in larger pieces than usual: gigabytes go through here."""

    chunk_size = PIECE


def resolve(call: Call) -> Response:
    """Answer with where the file is; ``HEAD`` learns the same."""
    repository, path = call.downloadable(), call.where["path"]
    commit, blob, headers = _found(call, repository)
    if blob.lfs:
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-Etag": f'"{blob.sha256}"', "ETag": f'"{blob.oid}"'}
        headers |= _xet_headers(call, repository, commit, blob.sha256)
        return Response(status_code=302, headers=headers | {"Location": call.hub.signed("objects", blob.sha256)})
    place = f"/api/resolve-cache/{repository.kind}/{repository.repo_id}/{commit}/{quote(path)}"
    asked = quote(f"/{repository.repo_id}/resolve/{call.where['rev']}/{path}", safe="")
    headers |= {"Location": f"{place}?{asked}=&etag=%22{blob.oid}%22"}
    return Response(f"Temporary Redirect. Redirecting to {place}", 307, headers, media_type="text/plain")


def resolve_cached(call: Call) -> Response:
    """Answer with a small file at a commit; where the client takes gzip, text comes packed, whole, without a length.

    The content network in front of the Hub then takes no notice of a range, and its ETag is a weak one.
    """
    _, blob, headers = _found(call, call.downloadable())
    path, guess = call.hub.store.objects.path(blob.sha256), guess_type(call.where["path"])[0]
    media_type = "text/plain" if guess in _SHOWN else guess or "text/plain"
    headers |= {"Vary": "Accept-Encoding"}
    if "gzip" in call.headers.get("accept-encoding", "") and media_type.startswith(_PACKED):
        headers |= {"Content-Encoding": "gzip", "ETag": f'W/"{blob.oid}"'}
        return StreamingResponse(iter([gzip.compress(path.read_bytes())]), headers=headers, media_type=media_type)
    headers |= {"ETag": f'"{blob.oid}"', "X-Content-Type-Options": "nosniff"}
    return StreamedFile(path, headers=headers, media_type=media_type)


def _found(call: Call, repository: Repository) -> tuple[str, Blob, dict[str, str]]:
    """Return the commit of a call, the file at its path, and what every answer says of them."""
    commit = repository.commit(repository.resolve(call.where["rev"]))
    blob = repository.tree(commit.tree).files.get(call.where["path"])
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    if blob is None:
        refusal = entry_not_found(f"Entry not found: {call.where['path']}")
        refusal.headers.update(headers)
        raise refusal
    return commit.oid, blob, headers


def _xet_headers(call: Call, repository: Repository, commit: str, sha256: str) -> dict[str, str]:
    """Tell who can download by Xet how; what came by LFS has no name there."""
    name = call.hub.store.objects.xet.name(sha256)
    if name is None:
        return {}
    right = f"{call.hub.endpoint}/api/{repository.kind}/{repository.repo_id}/xet-read-token/{commit}"
    return {"X-Xet-Hash": name, "Link": f'<{right}>; rel="xet-auth"'}
