"""Routes of the Hub that send Xet clients to the storage, with a token for it."""

from __future__ import annotations

import time

from starlette.responses import JSONResponse, Response

from pipeline.hub.local.web import Call
from pipeline.hub.local.xet.tokens import Right, token_of


def write_token(call: Call) -> Response:
    """Let who may write send xorbs and shards; the revision need not exist, for a pull request may be opened last."""
    repository = call.writable()
    return _answer(call, repository.kind, repository.repo_id, None)


def read_token(call: Call) -> Response:
    """Let who may download read the files of one commit."""
    repository = call.downloadable()
    return _answer(call, repository.kind, repository.repo_id, repository.resolve(call.where["rev"]))


def _answer(call: Call, kind: str, repo_id: str, commit: str | None) -> Response:
    """Tell everything twice: uploads read the body, downloads the headers."""
    expires = int(time.time()) + call.hub.limits.token_seconds
    operation = "write" if commit is None else "read"
    right = Right.model_validate(
        {"operation": operation, "kind": kind, "repo_id": repo_id, "commit": commit, "expires": expires}
    )
    token, storage = token_of(call.hub, right), call.hub.xet
    headers = {"X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expires), "X-Xet-Cas-Url": storage}
    return JSONResponse({"accessToken": token, "exp": expires, "casUrl": storage}, headers=headers)
