"""Routes for what the Hub tells about whole repositories."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from localhub.card_rules import BadCardError, many, metadata_of
from localhub.gitattributes import LARGE_BYTES
from localhub.objects import Objects
from localhub.records import Blob, Tree
from localhub.web import Call


def repo_info(call: Call) -> Response:
    """Describe a repository, with ``blobs`` also the size and ids of each file."""
    repository, with_blobs = call.repository(), call.query.get("blobs", "").lower() in {"1", "true"}
    state = repository.state()
    commit = repository.commit(repository.resolve(call.where.get("rev", "main"), state))
    tree = repository.tree(commit.tree)
    metadata = _metadata(call.hub.store.objects, tree)
    described: dict[str, Any] = {
        "_id": commit.oid[:24],
        "id": repository.repo_id,
        "author": repository.namespace,
        "sha": commit.oid,
        "lastModified": commit.date,
        "createdAt": state.created,
        "private": state.visibility == "private",
        "gated": state.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": many(metadata, "tags"),
        "cardData": metadata or None,
        "siblings": [_sibling(path, blob, with_blobs=with_blobs) for path, blob in sorted(tree.files.items())],
        "usedStorage": sum(blob.size for blob in tree.files.values()),
    }
    if repository.kind == "models":
        described |= {name: metadata.get(name) for name in ("library_name", "pipeline_tag")}
    return JSONResponse(described)


def _metadata(objects: Objects, tree: Tree) -> dict[str, Any]:
    readme = tree.files.get("README.md")
    if readme is None or readme.size > LARGE_BYTES:
        return {}
    try:
        return metadata_of(objects.read_text(readme.sha256))
    except BadCardError:  # a card that cannot be read describes nothing; whoever uploads one is told by validate-yaml
        return {}


def _sibling(path: str, blob: Blob, *, with_blobs: bool) -> dict[str, Any]:
    sibling: dict[str, Any] = {"rfilename": path}
    if with_blobs:
        sibling |= {"blobId": blob.oid, "size": blob.size}
        if blob.lfs:
            sibling["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return sibling
