"""Route that gives a CI job a short token for the ID token that proves which job it is (RFC 8693)."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from localhub.publishers import denied
from localhub.web import Call

_ASKED = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
}
_ISSUED = "urn:ietf:params:oauth:token-type:access_token"


def exchange(call: Call) -> Response:
    """Give a token for one repository to a job that is trusted there."""
    for name, wanted in _ASKED.items():
        if call.text(name) != wanted:
            raise denied(f"{name!r} has to be {wanted}.")
    seconds = call.hub.limits.token_seconds
    token = call.hub.door.publishers.token(
        call.text("resource"), call.text("subject_token"), call.hub.endpoint, seconds
    )
    answer = {"access_token": token, "issued_token_type": _ISSUED, "token_type": "bearer", "expires_in": seconds}
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})
