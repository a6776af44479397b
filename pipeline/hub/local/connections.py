"""Connections of clients that stall or leave: nobody works on for those who have gone, or waits for them at the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_GRACE = 2  # seconds that answers have to end in when the server is stopped


class KnownConnection(H11Protocol):
    """Puts its transport into the state of its requests, and ends by itself when the server is stopped."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin."""
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)

    def shutdown(self) -> None:
        """End when what is being answered is answered, or soon if the client does not let it."""
        super().shutdown()
        self.loop.call_later(_GRACE, self.transport.abort)


class _LeftError(Exception):
    """Ends the work on an answer that nobody reads."""


def transport_of(scope: Scope) -> asyncio.Transport:
    """Return what a request arrives on."""
    transport: asyncio.Transport = scope["state"]["transport"]
    return transport


def for_present_clients(app: ASGIApp) -> ASGIApp:
    """Return an application that stops answering when its client has left; uvicorn lets it read on for nobody."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        transport = transport_of(scope)

        async def send_to_present(message: Message) -> None:
            if transport.is_closing():
                raise _LeftError
            await send(message)

        try:
            await app(scope, receive, send_to_present)
        except _LeftError:
            await until_gone(receive)

    return answer


async def until_gone(receive: Receive) -> None:
    """Wait until the server knows that a connection is closed; before, it would answer for a silent application."""
    while (await receive())["type"] != "http.disconnect":
        pass
