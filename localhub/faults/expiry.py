"""Addresses and tokens past their time: how an answer's are made so, and how storage refuses them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

_MARK = "X-Expires=0"
_SIGNED = re.compile(r"http://127\.0\.0\.1:\d+/[\w/-]*\b[0-9a-f]{32}/[^\s\"<>?]*")
_PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"""


def expired_answer() -> Response:
    """Return the refusal of an address that was good once, in the words of S3."""
    return Response(_PAGE, 403, media_type="application/xml")


def is_expired(scope: Scope) -> bool:
    """Say whether a request is for an address that was given out as expired."""
    return _MARK.encode() in scope["query_string"]


def with_expired(send: Send) -> Send:
    """Return a way to send an answer on which every signed address and every token in it has expired."""
    start: Message = {}
    content = bytearray()

    async def send_expired(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = {**message, "headers": _expired_headers(message["headers"])}
            if not _is_json(start):
                await send(start)
        elif not _is_json(start):
            await send(message)
        else:
            content.extend(message.get("body", b""))
            if not message.get("more_body"):
                body = json.dumps(_expired(json.loads(content))).encode()
                MutableHeaders(scope=start)["content-length"] = str(len(body))
                await send(start)
                await send({"type": "http.response.body", "body": body})

    return send_expired


def _is_json(start: Message) -> bool:
    return "json" in Headers(raw=start["headers"]).get("content-type", "")


def _expired(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _expired_token(key, content) for key, content in value.items()}
    if isinstance(value, list):
        return [_expired(content) for content in value]
    return _SIGNED.sub(rf"\g<0>?{_MARK}", value) if isinstance(value, str) else value


def _expired_token(key: str, value: Any) -> Any:
    if key == "accessToken" and isinstance(value, str):  # whoami has an object of this name
        return f"{value}-expired"
    return 1 if key == "exp" else _expired(value)


def _expired_headers(raw: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    headers = MutableHeaders(raw=list(raw))
    for name, value in headers.items():
        if name == "x-xet-access-token":
            headers[name] = f"{value}-expired"
        elif name == "x-xet-token-expiration":
            headers[name] = "1"
        elif name == "location":
            headers[name] = _expired(value)
    return headers.raw
