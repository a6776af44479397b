"""Route that gives a CI job a short token for the ID token that proves which job it is (RFC 8693)."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from localhub.oidc import oauth_error
from localhub.publishers import repository_named
from localhub.refusals import RefusedError
from localhub.web import Call

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - the name of a type
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type
_TOLD = ("iss", "sub", "repository", "ref", "workflow_ref")  # what helps to correct a publisher's claims


def exchange(call: Call) -> Response:
    """Give a token for one repository to a job that is trusted there."""
    token, resource = _asked(call)
    publishers = call.hub.door.publishers
    if publishers is None:
        raise oauth_error("invalid_grant", "This Hub has no trusted publishers.")
    issuer, claims = publishers.believed(token, call.hub.endpoint)
    if not publishers.trust(resource, issuer, claims) or not _exists(call, resource):
        told = ", ".join(f"{name}={claims[name]}" for name in _TOLD if name in claims)
        raise oauth_error("invalid_grant", f"No trusted publisher of {resource!r} matches this job: {told}.")
    seconds = call.hub.limits.token_seconds
    answer = {"access_token": publishers.token(resource, seconds), "issued_token_type": _ACCESS_TOKEN}
    return JSONResponse(answer | {"token_type": "bearer", "expires_in": seconds}, headers={"Cache-Control": "no-store"})


def _asked(call: Call) -> tuple[str, str]:
    """Read what is asked for, as JSON like the client sends it or as the form that the RFC describes."""
    if _field(call, "grant_type") != _GRANT:
        raise oauth_error("unsupported_grant_type", f"The grant type has to be {_GRANT}.")
    if _field(call, "subject_token_type") != _ID_TOKEN:
        raise oauth_error("invalid_request", f"The type of the subject token has to be {_ID_TOKEN}.")
    token, resource = _field(call, "subject_token"), _field(call, "resource")
    if not isinstance(token, str) or not token or not isinstance(resource, str) or not resource:
        raise oauth_error("invalid_request", "'subject_token' and 'resource' have to be given.")
    return token, resource


def _field(call: Call, name: str) -> Any:
    if not call.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return call.json().get(name)
    values = call.form(name)
    return values[0] if len(values) == 1 else None


def _exists(call: Call, resource: str) -> bool:
    try:
        call.hub.store.find(*repository_named(resource))
    except RefusedError:
        return False
    return True
