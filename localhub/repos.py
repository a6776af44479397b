"""Routes for whole repositories and for the caller: create, delete, settings, rights, identity."""

from __future__ import annotations

from typing import Any, get_args

from starlette.responses import JSONResponse, Response

from localhub.access import described, require, require_login
from localhub.names import checked_repo_id, kind_of
from localhub.records import State, Visibility, now
from localhub.refusals import RefusedError, bad_request, conflict, repo_not_found
from localhub.web import Call, may_see


def create(call: Call) -> Response:
    """Create a repository; a second time is a conflict whose body carries the address, as ``exist_ok`` needs."""
    wanted = call.json()
    require_login(call.caller)
    kind, repo_id = kind_of(wanted.get("type")), _named(call)
    _require_owner(call, repo_id)
    state = State(created=now(), visibility=_visibility(wanted, "public"))
    try:
        repository = call.hub.store.create(kind, repo_id, state)
    except RefusedError as refusal:
        if refusal.status != 409:
            raise
        url = call.hub.repo_url(call.hub.store.find(kind, repo_id))
        raise conflict(refusal.message, url=url) from refusal
    return JSONResponse(
        {"url": call.hub.repo_url(repository), "name": repo_id, "private": state.visibility == "private"}
    )


def delete(call: Call) -> Response:
    """Delete a repository."""
    repo_id = _named(call)
    _require_change(call, kind_of(call.json().get("type")), repo_id)
    call.hub.store.delete(kind_of(call.json().get("type")), repo_id)
    return JSONResponse({})


def change_settings(call: Call) -> Response:
    """Set who sees a repository and whether its files are given to everyone who does."""
    repository, wanted = call.writable(), call.json()
    gate = wanted.get("gated")
    if gate is not None and gate is not False and gate not in ("auto", "manual"):
        raise bad_request("'gated' has to be 'auto', 'manual' or false.")
    with repository.changing() as state:
        state.visibility = _visibility(wanted, state.visibility)
        state.gated = state.gated if gate is None else gate
    return JSONResponse(
        {"visibility": state.visibility, "private": state.visibility == "private", "gated": state.gated}
    )


def check_write(call: Call) -> Response:
    """Say whether the caller may change the repository."""
    call.writable()
    return JSONResponse({})


def whoami(call: Call) -> Response:
    """Tell the bearer of a token who they are."""
    require_login(call.caller)
    caller = call.caller
    return JSONResponse(
        {
            "type": "user",
            "id": caller.name,
            "name": caller.name,
            "fullname": caller.name,
            "isPro": False,
            "orgs": [{"type": "org", "name": org, "fullname": org} for org in caller.orgs],
            "auth": described(caller),
        }
    )


def agent_harnesses(_: Call) -> Response:
    """Answer the client's daily question which agents to look out for: none."""
    return JSONResponse({"standardEnvVars": [], "harnesses": {}})


def _named(call: Call) -> str:
    owner = call.caller.name if call.json().get("organization") is None else call.text("organization")
    return checked_repo_id(owner, call.text("name"))


def _require_change(call: Call, kind: str, repo_id: str) -> None:
    """Let only an owner go on, and keep a private repository's existence from everyone outside."""
    require_login(call.caller)
    repository = call.hub.store.find(kind, repo_id)
    if not may_see(call.caller, repository):
        raise repo_not_found()
    _require_owner(call, repo_id)


def _require_owner(call: Call, repo_id: str) -> None:
    namespace = repo_id.split("/", maxsplit=1)[0]
    require(call.caller, call.caller.may_own(namespace), f"write to the namespace {namespace!r}")


def _visibility(wanted: dict[str, Any], default: Visibility) -> Visibility:
    """Read ``visibility``, or ``private`` as older clients send it."""
    if "visibility" in wanted:
        value = wanted["visibility"]
    elif "private" in wanted:
        value = "private" if wanted["private"] else "public"
    else:
        value = default
    if value not in get_args(Visibility):
        raise bad_request("'visibility' has to be 'public' or 'private'.")
    return value  # type: ignore[no-any-return]
