"""Routes of the Hub that send Xet clients to the storage, with a token for it."""

from __future__ import annotations

import time

from starlette.responses import JSONResponse, Response

from localhub.repository import Repository
from localhub.web import Call
from localhub.xet.tokens import Right, token_of


def write_token(call: Call) -> Response:
    """Let who may write send xorbs and shards; the revision need not exist, for a pull request may be opened last."""
    return _answer(call, call.committable(), operation="write")


def read_token(call: Call) -> Response:
    """Let who may download read the files of one commit."""
    repository = call.downloadable()
    return _answer(call, repository, operation="read", commit=repository.resolve(call.where["rev"]))


def _answer(call: Call, repository: Repository, **what: str) -> Response:
    """Tell everything twice: uploads read the body, downloads the headers."""
    expires = int(time.time()) + call.hub.limits.token_seconds
    where = {"kind": repository.kind, "repo_id": repository.repo_id}
    right = Right.model_validate({**where, **what, "expires": expires})
    token, storage = token_of(call.hub, right), call.hub.xet
    headers = {"X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expires), "X-Xet-Cas-Url": storage}
    return JSONResponse({"accessToken": token, "exp": expires, "casUrl": storage}, headers=headers)
