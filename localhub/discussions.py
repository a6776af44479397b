"""Routes for discussions and pull requests: open, list, read, comment, close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse, Response

from localhub.bodies import number_in
from localhub.names import MAIN
from localhub.records import Discussion, Event, State, now
from localhub.refusals import RefusedError, bad_request
from localhub.repository import Repository
from localhub.web import Call

_COMMENT_CHARACTERS = 64 << 10
_TALK_BYTES = 8 << 20  # of all discussions of a repository together, which every call reads


def opened(state: State, author: str, title: str, description: str, base: str | None) -> Discussion:
    """Add an open discussion, or with a base a pull request into it, whose ref is for the caller to set."""
    made = Discussion(
        num=len(state.discussions) + 1, title=_checked_title(title), author=author, created=now(), base=base
    )
    made.tell("comment", author, **_comment(description))
    state.discussions.append(made)
    return made


def create(call: Call) -> Response:
    """Open a discussion, or a draft of a pull request that starts at main."""
    wants_pull = bool(call.json().get("pullRequest"))
    repository = call.discussable()
    with repository.changing() as state:
        require_room(call, repository, state)
        base = MAIN if wants_pull else None
        made = opened(state, call.caller.name, call.text("title"), call.text("description", ""), base)
        if wants_pull:
            made.status = "draft"
            state.refs[made.ref] = state.refs[MAIN]
    return JSONResponse({"num": made.num, "pullRequest": wants_pull})


def listed(call: Call) -> Response:
    """List discussions, newest first, by type and status."""
    repository = call.repository()
    kind, status = call.query.get("type"), call.query.get("status")
    found = [
        discussion
        for discussion in reversed(repository.state().discussions)
        if kind in {None, "all", "pull_request" if discussion.base else "discussion"}
        and (status in {None, "all", discussion.status} or (status == "open" and discussion.status == "draft"))
    ]
    page, size = number_in(call.query.get("p", "0")), call.hub.limits.page
    if page is None:
        raise bad_request("'p' has to be a number.")
    start = page * size
    rows = [_summary(repository, discussion) for discussion in found[start : start + size]]
    return JSONResponse({"discussions": rows, "count": len(found), "start": start})


def details(call: Call) -> Response:
    """Tell everything of a discussion; of a pull request also where it goes."""
    repository = call.repository()
    found = _numbered(repository.state(), call.where["num"])
    answer = _summary(repository, found) | {"events": [_event(event) for event in found.events]}
    if found.base is not None:
        answer |= {"changes": {"base": found.base}, "filesWithConflicts": []}
    return JSONResponse(answer)


def comment(call: Call) -> Response:
    """Say something."""
    text = call.text("comment")
    return _told(call, "newMessage", lambda found: found.tell("comment", call.caller.name, **_comment(text)))


def change_status(call: Call) -> Response:
    """Close a discussion or open it again; a draft is opened by it."""
    status = call.text("status")
    if status not in {"open", "closed"}:
        raise bad_request("'status' has to be 'open' or 'closed'.")

    def changed(found: Discussion) -> Event:
        _require_author(call, found)
        found.status = "open" if status == "open" else "closed"
        if call.json().get("comment"):
            found.tell("comment", call.caller.name, **_comment(call.text("comment")))
        return found.tell("status-change", call.caller.name, status=status)

    return _told(call, "newStatus", changed)


def _told(call: Call, name: str, tell: Callable[[Discussion], Event]) -> Response:
    """Change one discussion and answer with the event that tells of it."""
    repository = call.discussable()
    with repository.changing() as state:
        require_room(call, repository, state)
        event = tell(_numbered(state, call.where["num"]))
    return JSONResponse({name: _event(event)})


def require_room(call: Call, repository: Repository, state: State) -> None:
    """Refuse more talk of who may only discuss where there is much; those who may write are never shut out by it."""
    writes = call.caller.may_write(repository.kind, repository.repo_id)
    if not writes and len(state.model_dump_json()) > _TALK_BYTES:
        raise RefusedError(413, "PayloadTooLarge", "The discussions of this repository are full.")


def _require_author(call: Call, found: Discussion) -> None:
    """Leave whether a discussion goes on to who opened it, and to who may write."""
    if found.author != call.caller.name:
        call.writable()


def _numbered(state: State, num: str) -> Discussion:
    """Return a discussion by its number in an address."""
    number = number_in(num) or 0
    if not 0 < number <= len(state.discussions):
        raise RefusedError(404, "DiscussionNotFound", f"There is no discussion {num[:20]}.")
    return state.discussions[number - 1]


def _checked_title(title: str) -> str:
    if not 3 <= len(title.strip()) <= 200:
        raise bad_request("A title needs at least 3 and at most 200 characters.")
    return title.strip()


def _comment(text: str) -> dict[str, Any]:
    if len(text) > _COMMENT_CHARACTERS:
        raise bad_request(f"A comment has at most {_COMMENT_CHARACTERS} characters.")
    return {
        "edited": False,
        "hidden": False,
        "history": [],
        "latest": {"raw": text, "html": text, "updatedAt": now()},
    }


def _summary(repository: Repository, discussion: Discussion) -> dict[str, Any]:
    return {
        "num": discussion.num,
        "title": discussion.title,
        "author": {"name": discussion.author},
        "createdAt": discussion.created,
        "status": discussion.status,
        "isPullRequest": discussion.base is not None,
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
