"""Route for commits: read a stream of operations, then add one commit to a branch or open a pull request with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from localhub.card import refusal_of
from localhub.changes import Changes, not_uploaded
from localhub.objects import Objects
from localhub.pulls import opened
from localhub.records import Commit, State
from localhub.refusals import RefusedError, bad_request, has_moved, revision_not_found
from localhub.repository import Repository
from localhub.web import Call, call_of

if TYPE_CHECKING:
    from starlette.requests import Request

_LINE_BYTES = 32 << 20  # a file of 10 MiB in base64, with room to spare


async def commit(request: Request) -> Response:
    """Add a commit; with ``create_pr=1`` in a pull request of its own.

    The body is read line by line and each small file is kept as it comes, so memory holds one of them at a time.
    """
    call = await run_in_threadpool(call_of, request)
    repository = await run_in_threadpool(call.committable)
    changes, objects = Changes(), call.hub.store.objects
    rest = bytearray()
    async for piece in request.stream():
        rest += piece
        if b"\n" in piece:
            *lines, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            await run_in_threadpool(_read_all, changes, lines, objects)
        if len(rest) > _LINE_BYTES:
            raise RefusedError(413, "PayloadTooLarge", "A line of this commit is too long.")
    await run_in_threadpool(_read_all, changes, [bytes(rest)], objects)
    if not changes.title:
        raise bad_request("A commit needs a header.")
    return await run_in_threadpool(_land, call, repository, changes)


def _read_all(changes: Changes, lines: list[bytes], objects: Objects) -> None:
    for line in lines:
        if line.strip():
            changes.read(line, objects)


def _land(call: Call, repository: Repository, changes: Changes) -> Response:
    """Make the commit under the repository's lock, and answer as the client reads it."""
    _require_large_files(repository, changes)
    _require_good_card(call, changes)
    with repository.changing() as state:
        url = call.hub.repo_url(repository)
        if call.opens_pull:
            made = _into_new_pull(call, repository, state, changes)
            pull = {"pullRequestUrl": f"{url}/discussions/{len(state.pulls)}"}
        else:
            made, pull = _onto(call, repository, state, changes), {}
    answer = {"success": True, "commitOid": made.oid, "commitUrl": f"{url}/commit/{made.oid}", "hookOutput": ""}
    return JSONResponse(answer | pull)


def _require_large_files(repository: Repository, changes: Changes) -> None:
    """Refuse large files of which only the name came, with the words for those that are not here."""
    for path, blob in changes.steps:
        if blob is not None and blob.lfs and not repository.has_large(blob.sha256):
            raise not_uploaded(path, blob.sha256)


def _require_good_card(call: Call, changes: Changes) -> None:
    """Refuse a card whose metadata nobody could read."""
    card = dict(changes.steps).get("README.md")
    refusal = None if card is None else refusal_of(call.hub.store.objects.read_text(card.sha256))
    if refusal is not None:
        raise refusal


def _onto(call: Call, repository: Repository, state: State, changes: Changes) -> Commit:
    """Add the commit to the branch or pull request it names, if that still is where the caller believes."""
    ref = repository.branch_or_pull(call.where["rev"], state)
    if changes.parent is not None and not (len(changes.parent) >= 7 and state.refs[ref].startswith(changes.parent)):
        raise has_moved()
    pull = state.pull(ref)
    made = _made(call, repository, changes, state.refs[ref])
    state.refs[ref] = made.oid
    if pull is not None:
        pull.tell("commit", call.caller.name, subject=made.title, oid=made.oid)
    return made


def _into_new_pull(call: Call, repository: Repository, state: State, changes: Changes) -> Commit:
    """Open a pull request with the commit on top of ``parentCommit``, which need not be the branch's head any more."""
    ref = repository.branch_or_pull(call.where["rev"], state)
    if not ref.startswith("refs/heads/"):
        raise revision_not_found(call.where["rev"])
    parent = state.refs[ref] if changes.parent is None else repository.resolve(changes.parent, state)
    made = _made(call, repository, changes, parent)
    pull = opened(state, call.caller.name, changes.title, changes.description, ref)
    state.refs[pull.ref] = made.oid
    pull.tell("commit", call.caller.name, subject=made.title, oid=made.oid)
    return made


def _made(call: Call, repository: Repository, changes: Changes, parent: str) -> Commit:
    before = repository.tree(repository.commit(parent).tree).files
    files = changes.applied_to(before, call.hub.store.objects)
    return repository.add_commit(files, [parent], (changes.title, changes.description), call.caller.name)
