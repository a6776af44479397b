"""Routes for what the Hub tells about whole repositories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from starlette.responses import JSONResponse, Response

from pipeline.hub.card_rules import BadCardError, metadata_of
from pipeline.hub.local.card import library_of, tags_of
from pipeline.hub.local.gitattributes import LARGE_BYTES
from pipeline.hub.local.objects import Objects
from pipeline.hub.local.pages import page_of
from pipeline.hub.local.records import Blob, Tree
from pipeline.hub.local.refusals import RefusedError
from pipeline.hub.local.repository import Repository
from pipeline.hub.local.web import Call


def repo_info(call: Call) -> Response:
    """Describe a repository, with ``blobs`` also the size and ids of each file."""
    with_blobs = call.query.get("blobs", "").lower() in {"1", "true"}
    return JSONResponse(_described(call, call.repository(), call.where.get("rev", "main"), with_blobs=with_blobs))


def list_repos(call: Call) -> Response:
    """List what the caller may see of one kind, by ``author`` and by a word that the id contains, in pages."""
    author, word = call.query.get("author"), call.query.get("search", "").lower()
    found = [
        repository
        for repository, _ in call.visible(call.where["kind"])
        if author in {None, repository.namespace} and word in repository.repo_id.lower()
    ]
    page, headers = page_of(call, found, call.hub.limits.page)
    return JSONResponse(list(_described_all(call, page)), headers=headers)


def _described_all(call: Call, repositories: Iterable[Repository]) -> Iterator[dict[str, Any]]:
    """Describe each repository that is still there."""
    for repository in repositories:
        try:
            yield _described(call, repository, "main", with_blobs=False)
        except RefusedError:
            continue


def _described(call: Call, repository: Repository, revision: str, *, with_blobs: bool) -> dict[str, Any]:
    state = repository.state()
    commit = repository.commit(repository.resolve(revision, state))
    tree = repository.tree(commit.tree)
    metadata = _metadata(call.hub.store.objects, tree)
    library = library_of(metadata, set(tree.files)) if repository.kind == "models" else None
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
        "tags": tags_of(metadata, library),
        "cardData": metadata or None,
        "siblings": [_sibling(path, blob, with_blobs=with_blobs) for path, blob in sorted(tree.files.items())],
        "usedStorage": sum(blob.size for blob in tree.files.values()),
    }
    if repository.kind == "models":
        of_model = {"library_name": library, "pipeline_tag": metadata.get("pipeline_tag")}
        described |= {"modelId": repository.repo_id, **of_model}
    if repository.kind == "spaces":
        described["sdk"] = state.sdk
    return described


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
