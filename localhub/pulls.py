"""Routes for pull requests: open, list, read, close. The Hub calls them discussions, and has others too."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from localhub.bodies import number_in
from localhub.names import MAIN
from localhub.records import Event, PullRequest, State, now
from localhub.refusals import RefusedError, bad_request
from localhub.repository import Repository
from localhub.web import Call


def opened(state: State, author: str, title: str, description: str, base: str) -> PullRequest:
    """Add an open pull request into a branch, whose ref is for the caller to set."""
    if not 3 <= len(title.strip()) <= 200:
        raise bad_request("A title needs at least 3 and at most 200 characters.")
    made = PullRequest(num=len(state.pulls) + 1, title=title.strip(), author=author, created=now(), base=base)
    made.tell("comment", author, **_comment(description))
    state.pulls.append(made)
    return made


def create(call: Call) -> Response:
    """Open a draft that starts at main."""
    if not call.json().get("pullRequest"):
        raise bad_request("Of discussions there are pull requests alone here.")
    with call.discussable().changing() as state:
        made = opened(state, call.caller.name, call.text("title"), call.text("description", ""), MAIN)
        made.status = "draft"
        state.refs[made.ref] = state.refs[MAIN]
    return JSONResponse({"num": made.num, "pullRequest": True})


def listed(call: Call) -> Response:
    """List pull requests, newest first, by status."""
    repository, status = call.repository(), call.query.get("status")
    wanted = {"open": {"open", "draft"}, "closed": {"closed"}}.get(str(status), {"open", "draft", "closed"})
    found = [pull for pull in reversed(repository.state().pulls) if pull.status in wanted]
    page, size = number_in(call.query.get("p", "0")), call.hub.limits.page
    if page is None:
        raise bad_request("'p' has to be a number.")
    start = page * size
    rows = [_summary(repository, pull) for pull in found[start : start + size]]
    return JSONResponse({"discussions": rows, "count": len(found), "start": start})


def details(call: Call) -> Response:
    """Tell everything of a pull request."""
    repository = call.repository()
    found = _numbered(repository.state(), call.where["num"])
    more = {"events": [_event(event) for event in found.events], "filesWithConflicts": []}
    return JSONResponse(_summary(repository, found) | more | {"changes": {"base": found.base}})


def change_status(call: Call) -> Response:
    """Close a pull request or open it again, which is for who opened it and for who may write."""
    status, said = call.text("status"), call.text("comment", "")
    if status not in {"open", "closed"}:
        raise bad_request("'status' has to be 'open' or 'closed'.")
    with call.discussable().changing() as state:
        found = _numbered(state, call.where["num"])
        if found.author != call.caller.name:
            call.writable()
        found.status = "open" if status == "open" else "closed"
        if said:
            found.tell("comment", call.caller.name, **_comment(said))
        event = found.tell("status-change", call.caller.name, status=status)
    return JSONResponse({"newStatus": _event(event)})


def _numbered(state: State, num: str) -> PullRequest:
    """Return a pull request by its number in an address."""
    number = number_in(num) or 0
    if not 0 < number <= len(state.pulls):
        raise RefusedError(404, "DiscussionNotFound", f"There is no discussion {num[:20]}.")
    return state.pulls[number - 1]


def _comment(text: str) -> dict[str, Any]:
    latest = {"raw": text, "html": text, "updatedAt": now()}
    return {"edited": False, "hidden": False, "history": [], "latest": latest}


def _summary(repository: Repository, pull: PullRequest) -> dict[str, Any]:
    return {
        "num": pull.num,
        "title": pull.title,
        "author": {"name": pull.author},
        "createdAt": pull.created,
        "status": pull.status,
        "isPullRequest": True,
        "repo": {"name": repository.repo_id, "type": repository.kind[:-1]},
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "author": {"name": event.author},
        "createdAt": event.created,
        "data": event.data,
    }
