"""Rights to Xet's storage: tokens that the Hub gives out for one repository and one direction, and signed addresses."""

from __future__ import annotations

import base64
import hmac
import time
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from localhub.refusals import RefusedError, forbidden, unknown_token
from localhub.web import Hub

if TYPE_CHECKING:
    from starlette.requests import Request

_VERB = "xet-token"


class Right(BaseModel):
    """What a token allows: to read the files of one commit, or to write for one repository, until it expires."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: Literal["read", "write"]
    kind: str
    repo_id: str
    commit: str | None = None
    expires: int


def token_of(hub: Hub, right: Right) -> str:
    """Write a right as a token that only this store can have made."""
    text = base64.urlsafe_b64encode(right.model_dump_json().encode()).decode().rstrip("=")
    return f"{text}.{hub.signature(_VERB, text)}"


def right_of(hub: Hub, request: Request, *operations: Literal["read", "write"]) -> Right:
    """Return the right that a request comes with.

    Raises:
        RefusedError: 401 for a token that is none or has expired, 403 for one of the other direction.
    """
    text, _, signature = request.headers.get("authorization", "").removeprefix("Bearer ").partition(".")
    if not hmac.compare_digest(hub.signature(_VERB, text).encode(), signature.encode()):
        raise unknown_token()
    try:
        right = Right.model_validate_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, ValidationError):
        raise unknown_token() from None
    if right.expires <= time.time():
        raise RefusedError(401, "ExpiredToken", "This token has expired; ask the Hub for another one.")
    if right.operation not in operations:
        raise forbidden(f"This token is for {right.operation}, not for {operations[0]}.")
    return right
