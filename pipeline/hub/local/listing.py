"""Routes for what is in a tree: folders and files with their sizes and ids, never their contents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.responses import JSONResponse, Response

from pipeline.hub.local.objects import Objects
from pipeline.hub.local.pages import page_of
from pipeline.hub.local.records import Blob, Commit, Tree
from pipeline.hub.local.refusals import entry_not_found
from pipeline.hub.local.repository import Repository
from pipeline.hub.local.web import Call


def list_tree(call: Call) -> Response:
    """List a folder of a revision, with ``recursive`` all below it, with ``expand`` each entry's last commit."""
    repository, folder = call.repository(), call.where.get("path", "").strip("/")
    commit = repository.commit(repository.resolve(call.where["rev"]))
    tree = repository.tree(commit.tree)
    if folder not in tree.folders:
        raise entry_not_found(f"{folder} does not exist on {call.where['rev']!r}")
    expand = _yes(call.query.get("expand"))
    paths = _below(tree, folder, recursive=_yes(call.query.get("recursive")))
    page, headers = page_of(call, paths, call.hub.limits.expanded_page if expand else call.hub.limits.page)
    entries = _entries(call.hub.store.objects, tree, page)
    return JSONResponse(_with_last_commits(repository, commit, entries) if expand else entries, headers=headers)


def paths_info(call: Call) -> Response:
    """Describe the given paths, leaving out those that do not exist."""
    repository = call.repository()
    commit = repository.commit(repository.resolve(call.where["rev"]))
    tree = repository.tree(commit.tree)
    paths = [path.strip("/") for path in call.form("paths")]
    known = [path for path in dict.fromkeys(paths) if path and (path in tree.files or path in tree.folders)]
    entries = _entries(call.hub.store.objects, tree, known)
    expand = _yes(next(iter(call.form("expand")), None))
    return JSONResponse(_with_last_commits(repository, commit, entries) if expand else entries)


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


def _with_last_commits(repository: Repository, head: Commit, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    last = _last_commits(repository, head, [entry["path"] for entry in entries])
    for entry in entries:
        made = last[entry["path"]]
        entry["lastCommit"] = {"id": made.oid, "title": made.title, "date": made.date}
    return entries


def _file(path: str, blob: Blob, objects: Objects) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
        if name := objects.xet.name(blob.sha256):
            entry["xetHash"] = name
    return entry


def _last_commits(repository: Repository, head: Commit, paths: Iterable[str]) -> dict[str, Commit]:
    """Find the commit that gave each path what it has at the head."""
    found: dict[str, Commit] = {}
    waiting = set(paths)
    newer = repository.tree(head.tree)
    for commit in repository.history(head.oid):
        if not waiting:
            break
        older = repository.tree(repository.commit(commit.parents[0]).tree) if commit.parents else Tree({}, {})
        changed = {path for path in waiting if _oid(newer, path) != _oid(older, path)}
        found.update(dict.fromkeys(changed, commit))
        waiting -= changed
        newer = older
    return found


def _oid(tree: Tree, path: str) -> str | None:
    return tree.files[path].oid if path in tree.files else tree.folders.get(path)


def _yes(value: str | None) -> bool:
    return value is not None and value.lower() in {"1", "true"}
