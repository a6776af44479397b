"""Route that resolves a path of a revision to its bytes: small files directly, large ones on the storage origin."""

from __future__ import annotations

from mimetypes import guess_type

from starlette.responses import FileResponse, Response

from pipeline.files import PIECE
from pipeline.hub.local.refusals import entry_not_found
from pipeline.hub.local.repository import Repository
from pipeline.hub.local.web import Call


class StreamedFile(FileResponse):
    """A file or ranges of it, read in larger pieces than usual: gigabytes go through here."""

    chunk_size = PIECE


def resolve(call: Call) -> Response:
    """Answer with the file, or for a large one with where it is; ``HEAD`` learns the same without the bytes."""
    repository, path = call.downloadable(), call.where["path"]
    commit = repository.commit(repository.resolve(call.where["rev"]))
    blob = repository.tree(commit.tree).files.get(path)
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    if blob is None:
        refusal = entry_not_found(f"Entry not found: {path}")
        refusal.headers.update(headers)
        raise refusal
    if blob.lfs:
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-Etag": f'"{blob.sha256}"', "ETag": f'"{blob.oid}"'}
        headers |= _xet_headers(call, repository, commit.oid, blob.sha256)
        return Response(status_code=302, headers=headers | {"Location": call.hub.signed("objects", blob.sha256)})
    media_type = guess_type(path)[0] or "text/plain"
    headers |= {"ETag": f'"{blob.oid}"', "X-Content-Type-Options": "nosniff"}
    return StreamedFile(call.hub.store.objects.path(blob.sha256), headers=headers, media_type=media_type)


def _xet_headers(call: Call, repository: Repository, commit: str, sha256: str) -> dict[str, str]:
    """Tell who can download by Xet how; what came by LFS has no name there."""
    name = call.hub.store.objects.xet.name(sha256)
    if name is None:
        return {}
    right = f"{call.hub.endpoint}/api/{repository.kind}/{repository.repo_id}/xet-read-token/{commit}"
    return {"X-Xet-Hash": name, "Link": f'<{right}>; rel="xet-auth"'}
