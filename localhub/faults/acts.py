"""What each kind of fault does to one exchange of request and answer."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from localhub.faults.connection import Connection
from localhub.faults.past import Past
from localhub.faults.rules import Rule
from localhub.refusals import has_moved
from localhub.web import SHORT

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PER_SECOND = 20  # pieces that a slow body comes in
_EXPIRED = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"""  # in the words of S3
_BODILESS = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


class _BrokenOffError(Exception):
    """Ends the application's work where nobody is left to answer."""


@dataclass
class Exchange:
    """One request on its way to the application, and the answer on its way back."""

    app: ASGIApp
    scope: Scope
    origin: Receive
    send: Send
    rule: Rule
    connection: Connection
    past: Past
    whole: bool = False

    async def receive(self) -> Message:
        """Return the next piece of the request, knowing afterwards whether it was the last one."""
        message = await self.origin()
        self.whole = not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read the request to its end."""
        while not self.whole:
            await self.receive()

    async def answer(self, response: Response) -> None:
        """Answer in the application's place."""
        await self.drain()
        await response(self.scope, self.origin, self.send)

    async def work(self, receive: Receive | None = None, send: Send | None = None) -> None:
        """Let the application answer, perhaps through something in between."""
        await self.app(self.scope, receive or self.receive, send or self.send)

    async def work_unheard(self) -> None:
        """Let the application do its work, and keep the answer."""

        async def swallow(_: Message) -> None:
            pass

        await self.work(send=swallow)


Act = Callable[[Exchange], Awaitable[None]]


async def _status(exchange: Exchange) -> None:
    rule, status = exchange.rule, HTTPStatus(int(exchange.rule.value or 0))
    headers = {"X-Error-Code": status.phrase.replace(" ", ""), **dict(rule.headers)}
    if status in _BODILESS:
        await exchange.answer(Response(status_code=status, headers=dict(rule.headers)))
    elif rule.body:
        media = "text/html" if rule.body.startswith("<") else "application/json"
        await exchange.answer(Response(rule.body, status, headers, media))
    else:
        await exchange.answer(JSONResponse({"error": status.phrase}, status, headers))


async def _moved(exchange: Exchange) -> None:
    refusal = has_moved()
    headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
    await exchange.answer(JSONResponse({"error": refusal.message}, refusal.status, headers))


async def _expired(exchange: Exchange) -> None:
    await exchange.answer(Response(_EXPIRED, 403, media_type="application/xml"))


async def _drop(exchange: Exchange) -> None:
    await exchange.drain()
    await exchange.connection.close()


async def _reset(exchange: Exchange) -> None:
    await exchange.drain()
    await exchange.connection.reset()


async def _cut(exchange: Exchange, end: Act) -> None:
    """End the connection before the last byte of the answer's body at the latest, and before an answer without one."""
    left = 0

    async def send(message: Message) -> None:
        nonlocal left
        if message["type"] == "http.response.start":
            left = _place(exchange, message)
            if exchange.scope["method"] == "HEAD" or Headers(raw=message["headers"]).get("content-length") == "0":
                raise _BrokenOffError
            await exchange.send(message)
        else:
            piece = message.get("body", b"")[:left]
            left -= len(piece)
            await exchange.send({"type": "http.response.body", "body": piece, "more_body": True})
        if not left or not message.get("more_body", True):
            raise _BrokenOffError

    with suppress(_BrokenOffError):
        await exchange.work(send=send)
    await end(exchange)


def _place(exchange: Exchange, start: Message) -> int:
    """Return a place in a body that begins: the one asked for as far as the body goes, or its middle."""
    length = int(Headers(raw=start["headers"]).get("content-length", 0))
    value = exchange.rule.value
    last = max(length - 1, 0)
    return last // 2 if value is None else min(int(value), last)


async def _hang(exchange: Exchange) -> None:
    await exchange.drain()
    await exchange.connection.wait(math.inf if exchange.rule.value is None else exchange.rule.value)
    await exchange.connection.close()


async def _hang_after(exchange: Exchange) -> None:
    await exchange.work_unheard()
    await _hang(exchange)


async def _lose(exchange: Exchange) -> None:
    await exchange.work_unheard()
    await _drop(exchange)


async def _slow(exchange: Exchange) -> None:
    rate = exchange.rule.value or math.inf
    size = max(1, int(rate / _PER_SECOND))

    async def receive() -> Message:
        message = await exchange.receive()
        await exchange.connection.wait(len(message.get("body", b"")) / rate)
        return message

    async def send(message: Message) -> None:
        body = message.get("body", b"")
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            await exchange.connection.wait(len(piece) / rate)
            await exchange.send({"type": "http.response.body", "body": piece, "more_body": True})
        if message["type"] == "http.response.start" or not message.get("more_body"):
            await exchange.send({**message, "body": b""} if body else message)

    await exchange.work(receive, send)


async def _flip(exchange: Exchange) -> None:
    ahead = 0

    async def send(message: Message) -> None:
        nonlocal ahead
        if message["type"] == "http.response.start":
            ahead = _place(exchange, message)
        else:
            body = bytearray(message.get("body", b""))
            if 0 <= ahead < len(body):
                body[ahead] ^= 1
            ahead -= len(body)
            message = {**message, "body": bytes(body)}
        await exchange.send(message)

    await exchange.work(send=send)


async def _shorten(exchange: Exchange) -> None:
    exchange.scope = {**exchange.scope, "state": {**exchange.scope["state"], SHORT: True}}
    await exchange.work()


async def _ignore_range(exchange: Exchange) -> None:
    headers = [(name, value) for name, value in exchange.scope["headers"] if name not in {b"range", b"if-range"}]
    exchange.scope = {**exchange.scope, "headers": headers}
    await exchange.work()


async def _stale(exchange: Exchange) -> None:
    await exchange.past.answer(exchange.app, exchange.scope, exchange.origin, exchange.send, stale=True)


ACTS: Mapping[str, Act] = {
    "status": _status,
    "moved": _moved,
    "expired": _expired,
    "drop": _drop,
    "reset": _reset,
    "cut-answer": partial(_cut, end=_drop),
    "reset-answer": partial(_cut, end=_reset),
    "lost": _lose,
    "hang": _hang,
    "hang-after": _hang_after,
    "slow": _slow,
    "flip": _flip,
    "short": _shorten,
    "ignore-range": _ignore_range,
    "stale": _stale,
}
