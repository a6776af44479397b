"""What was answered before: kept per address, so that an answer can be one change behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OF_ITSELF = {b"x-request-id", b"date"}  # headers that differ from answer to answer


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Past:
    """The present answer and the one before it, for each address and each caller."""

    def __init__(self) -> None:
        self._answers: dict[tuple[bytes, ...], tuple[Answer, Answer]] = {}

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, *, stale: bool) -> None:
        """Answer with the truth or, if there was another one, with the one before; remember what the truth is."""
        now = await _asked(app, scope, receive)
        key = (scope["method"].encode(), scope["raw_path"], scope["query_string"], _authorization(scope))
        before, present = self._answers.get(key, (now, now))
        if now != present:
            before = present
        self._answers[key] = (before, now)
        shown = before if stale else now
        await send({"type": "http.response.start", "status": shown.status, "headers": list(shown.headers)})
        await send({"type": "http.response.body", "body": shown.body})


async def _asked(app: ASGIApp, scope: Scope, receive: Receive) -> Answer:
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    start, *parts = messages
    headers = tuple((name, value) for name, value in start["headers"] if name.lower() not in _OF_ITSELF)
    return Answer(start["status"], headers, b"".join(part.get("body", b"") for part in parts))


def _authorization(scope: Scope) -> bytes:
    return b"".join(value for name, value in scope["headers"] if name == b"authorization")
