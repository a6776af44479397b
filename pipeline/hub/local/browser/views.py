"""The pages of one repository: its card, its files, its history, one commit, its discussions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from pipeline.hub.card_rules import BadCardError, metadata_of
from pipeline.hub.local.bodies import number_in
from pipeline.hub.local.browser.differences import differences, text_of
from pipeline.hub.local.browser.markdown import MOST_CHARACTERS, rendered
from pipeline.hub.local.browser.page import page, path_of
from pipeline.hub.local.card import body_of
from pipeline.hub.local.discussions import numbered
from pipeline.hub.local.merging import fork
from pipeline.hub.local.records import Discussion, State, Tree
from pipeline.hub.local.refusals import entry_not_found
from pipeline.hub.local.repository import Repository
from pipeline.hub.local.web import Call, may_download

_VALUE_CHARACTERS = 500  # of one value of a card's metadata
_README_BYTES = 4 * MOST_CHARACTERS
_HISTORY = 50  # commits of one page
_REFS = 100  # branches and tags of one page


def card(call: Call) -> Response:
    """Show the card of a repository at a revision."""
    repository, state, revision, tree = _at(call)
    readme = tree.files.get("README.md")
    text = ""
    if readme is not None and readme.size <= _README_BYTES:
        text = call.hub.store.objects.read_text(readme.sha256)
    shown = rendered(body_of(text), path_of(repository), revision)
    rows, problem = _metadata(text)
    cut = readme is not None and (readme.size > _README_BYTES or len(text) > MOST_CHARACTERS)
    about: dict[str, Any] = {"card": shown if readme else None, "metadata": rows, "problem": problem, "cut": cut}
    return page(call, "card", **_frame(repository, state, revision), **about)


def files(call: Call) -> Response:
    """Show a folder of a revision."""
    repository, state, revision, tree = _at(call)
    folder = call.where.get("path", "").strip("/")
    if folder not in tree.folders:
        raise entry_not_found(f"There is no folder {folder!r} at {revision!r}.")
    prefix = f"{folder}/" if folder else ""
    inside = sorted(path for path in tree.folders if path and path.rpartition("/")[0] == folder)
    here = {path: blob for path, blob in sorted(tree.files.items()) if path.rpartition("/")[0] == folder}
    about: dict[str, Any] = {"folder": folder, "prefix": prefix, "folders": inside, "files": here}
    return page(call, "files", **_frame(repository, state, revision), **about)


def file(call: Call) -> Response:
    """Show a file: its size and ids, and its contents if it is a short text and the caller may have it."""
    repository, state, revision, tree = _at(call)
    path = call.where["path"].strip("/")
    if path in tree.folders:
        return RedirectResponse(f"{path_of(repository)}/tree/{quote(revision, safe='')}/{quote(path)}")
    blob = tree.files.get(path)
    if blob is None:
        raise entry_not_found(f"There is no file {path!r} at {revision!r}.")
    text = text_of(call.hub.store.objects, blob) if may_download(call.caller, repository) else None
    return page(call, "file", **_frame(repository, state, revision), path=path, blob=blob, text=text)


def history(call: Call) -> Response:
    """Show the commits of a revision, newest first, and all branches and tags."""
    repository, state, revision, _ = _at(call)
    commits = list(repository.history(repository.resolve(revision, state)))
    start = number_in(call.query.get("after", "0")) or 0
    older = start + _HISTORY if start + _HISTORY < len(commits) else None
    about: dict[str, Any] = {"commits": commits[start : start + _HISTORY], "older": older, "count": len(commits)}
    return page(call, "history", **_frame(repository, state, revision), **about)


def commit(call: Call) -> Response:
    """Show one commit with what it changed."""
    repository, state, revision, _ = _at(call)
    made = repository.commit(repository.resolve(revision, state))
    changed = _differences(call, repository, made.parents[0] if made.parents else None, made.oid)
    return page(call, "commit", **_frame(repository, state, made.oid), commit=made, changed=changed)


def discussions(call: Call) -> Response:
    """Show all discussions and pull requests, newest first."""
    repository = call.repository()
    state = repository.state()
    found = list(reversed(state.discussions))
    return page(call, "discussions", **_frame(repository, state, "main"), discussions=found)


def discussion(call: Call) -> Response:
    """Show a discussion; of a pull request also what it changes or changed."""
    repository = call.repository()
    state = repository.state()
    found = numbered(state, call.where["num"])
    comments = {
        event.id: rendered(str(event.data["latest"]["raw"]), path_of(repository), "main")
        for event in found.events
        if event.type == "comment"
    }
    ends = _ends(repository, state, found)
    changed = _differences(call, repository, *ends) if ends else []
    about: dict[str, Any] = {"discussion": found, "comments": comments, "changed": changed}
    return page(call, "discussion", **_frame(repository, state, "main"), **about)


def _at(call: Call) -> tuple[Repository, State, str, Tree]:
    repository, revision = call.repository(), call.where.get("rev", "main")
    state = repository.state()
    return repository, state, revision, repository.tree(repository.commit(repository.resolve(revision, state)).tree)


def _frame(repository: Repository, state: State, revision: str) -> dict[str, Any]:
    """Return what every page of a repository shows."""
    named = {kind: [ref for ref in sorted(state.refs) if ref.startswith(f"refs/{kind}/")] for kind in ("heads", "tags")}
    return {
        "repository": repository,
        "state": state,
        "revision": revision,
        "base": path_of(repository),
        "branches": [ref.removeprefix("refs/heads/") for ref in named["heads"][:_REFS]],
        "tags": [ref.removeprefix("refs/tags/") for ref in named["tags"][:_REFS]],
    }


def _differences(call: Call, repository: Repository, before: str | None, after: str) -> list[Any]:
    with_lines = may_download(call.caller, repository)
    return list(differences(repository, call.hub.store.objects, before, after, with_lines=with_lines))


def _ends(repository: Repository, state: State, found: Discussion) -> tuple[str | None, str] | None:
    """Return the commits between which a pull request's change lies."""
    if found.base is None:
        return None
    if found.merge_commit is not None:
        return repository.commit(found.merge_commit).parents[0], found.merge_commit
    if found.ref not in state.refs:
        return None
    head = state.refs[found.ref]
    return (fork(repository, state.refs[found.base], head) if found.base in state.refs else None), head


def _metadata(text: str) -> tuple[list[tuple[str, str]], str]:
    """Return the rows of a card's metadata, and what is wrong with it."""
    try:
        metadata: Mapping[str, Any] = metadata_of(text)
    except BadCardError as error:
        return [], str(error)
    return [(str(key), _shown(value)) for key, value in metadata.items()], ""


def _shown(value: Any) -> str:
    if isinstance(value, list) and not any(isinstance(part, list | dict) for part in value):
        text = ", ".join(map(str, value))
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[:_VALUE_CHARACTERS]}…"
