"""Routes for branches, tags and histories."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from localhub.names import MAIN, checked_ref_name
from localhub.pages import page_of
from localhub.refusals import conflict, forbidden, revision_not_found
from localhub.web import Call


def create_branch(call: Call) -> Response:
    """Start a branch at a revision, by default at main."""
    name, start = checked_ref_name(call.where["rev"]), call.text("startingPoint", "main")
    return _create_ref(call, f"refs/heads/{name}", start)


def create_tag(call: Call) -> Response:
    """Tag a revision; a tag never moves."""
    return _create_ref(call, f"refs/tags/{checked_ref_name(call.text('tag'))}", call.where["rev"])


def delete_branch(call: Call) -> Response:
    """Delete a branch other than main."""
    ref = f"refs/heads/{call.where['rev']}"
    if ref == MAIN:
        call.writable()
        raise forbidden("The main branch cannot be deleted")
    return _delete_ref(call, ref)


def delete_tag(call: Call) -> Response:
    """Delete a tag."""
    return _delete_ref(call, f"refs/tags/{call.where['rev']}")


def super_squash(call: Call) -> Response:
    """Replace a branch's history by one commit of what it holds."""
    repository, ref = call.writable(), f"refs/heads/{call.where['rev']}"
    with repository.changing() as state:
        if ref not in state.refs:
            raise revision_not_found(call.where["rev"])
        files = repository.tree_at(state.refs[ref]).files
        made = repository.add_commit(files, (), (call.text("message"), ""), call.caller.name)
        state.refs[ref] = made.oid
    return JSONResponse({"commitOid": made.oid})


def list_refs(call: Call) -> Response:
    """List branches and tags, and on request the pull requests'."""
    refs = call.repository().state().refs
    with_pulls = call.query.get("include_prs") in {"1", "true"}
    kinds = {"branches": "refs/heads/", "converts": "refs/convert/", "tags": "refs/tags/"}
    if with_pulls:
        kinds["pullRequests"] = "refs/pr/"
    return JSONResponse({kind: _under(refs, prefix) for kind, prefix in kinds.items()})


def list_commits(call: Call) -> Response:
    """List a revision's history, newest first, in pages."""
    repository = call.repository()
    history = list(repository.history(repository.resolve(call.where["rev"])))
    page, headers = page_of(call, history, call.hub.limits.page)
    rows = [
        {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.description,
            "date": commit.date,
            "authors": [{"user": commit.author}],
        }
        for commit in page
    ]
    return JSONResponse(rows, headers=headers)


def _create_ref(call: Call, ref: str, start: str) -> Response:
    with call.writable().changing() as state:
        if ref in state.refs:
            raise conflict(f"Reference already exists: {ref}")
        state.refs[ref] = call.repository().resolve(start, state)
    return JSONResponse({"ref": ref, "targetCommit": state.refs[ref]})


def _delete_ref(call: Call, ref: str) -> Response:
    with call.writable().changing() as state:
        if ref not in state.refs:
            raise revision_not_found(call.where["rev"])
        del state.refs[ref]
    return JSONResponse({})


def _under(refs: dict[str, str], prefix: str) -> list[dict[str, str]]:
    return [
        {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": oid}
        for ref, oid in sorted(refs.items())
        if ref.startswith(prefix)
    ]
