"""Connections as the embedded Hub knows them: within reach of requests, and not waited for at the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

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


def transport_of(scope: Scope) -> asyncio.Transport:
    """Return what a request arrives on."""
    transport: asyncio.Transport = scope["state"]["transport"]
    return transport


async def until_gone(receive: Receive) -> None:
    """Wait until the server knows that a connection is closed; before, it would answer for a silent application."""
    while (await receive())["type"] != "http.disconnect":
        pass
