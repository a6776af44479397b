"""The metadata of a README.md, as the Hub judges it."""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response

from localhub.card_rules import EMPTY, errors_of, metadata_of
from localhub.refusals import RefusedError, bad_request
from localhub.web import Call


def validate(call: Call) -> Response:
    """Judge a card as the client asks before it uploads one."""
    content = call.text("content")
    errors = errors_of(content)
    warnings = [] if errors or metadata_of(content) else [EMPTY]
    if errors and call.headers.get("accept") == "text/plain":
        return PlainTextResponse("\n".join(errors), 400)
    answer = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return JSONResponse(answer, 400 if errors else 200)


def refusal_of(content: str) -> RefusedError | None:
    """Return why a commit with a card is refused; None where it is taken."""
    errors = errors_of(content)
    return bad_request(f"Invalid metadata in README.md: {'; '.join(errors)}") if errors else None
