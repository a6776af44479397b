"""Routes for what is in a tree: folders and files with their sizes and ids, never their contents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.responses import JSONResponse, Response

from localhub.objects import Objects
from localhub.pages import page_of
from localhub.records import Blob, Tree
from localhub.refusals import entry_not_found
from localhub.web import Call


def list_tree(call: Call) -> Response:
    """List a folder of a revision, with ``recursive`` all below it."""
    tree, folder = call.repository().tree_at(call.where["rev"]), call.where.get("path", "").strip("/")
    if folder not in tree.folders:
        raise entry_not_found(f"{folder} does not exist on {call.where['rev']!r}")
    paths = _below(tree, folder, recursive=call.query.get("recursive", "").lower() in {"1", "true"})
    page, headers = page_of(call, paths, call.hub.limits.page)
    return JSONResponse(_entries(call.hub.store.objects, tree, page), headers=headers)


def paths_info(call: Call) -> Response:
    """Describe the given paths, leaving out those that do not exist."""
    tree = call.repository().tree_at(call.where["rev"])
    paths = [path.strip("/") for path in call.form("paths")]
    known = [path for path in dict.fromkeys(paths) if path and (path in tree.files or path in tree.folders)]
    return JSONResponse(_entries(call.hub.store.objects, tree, known))


def _below(tree: Tree, folder: str, *, recursive: bool) -> list[str]:
    prefix = f"{folder}/" if folder else ""
    return sorted(
        path
        for path in (*tree.files, *tree.folders)
        if path and path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :])
    )


def _entries(objects: Objects, tree: Tree, paths: Iterable[str]) -> list[dict[str, Any]]:
    return [
        _file(path, tree.files[path], objects)
        if path in tree.files
        else {"type": "directory", "oid": tree.folders[path], "size": 0, "path": path}
        for path in paths
    ]


def _file(path: str, blob: Blob, objects: Objects) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
        if name := objects.xet.name(blob.sha256):
            entry["xetHash"] = name
    return entry
