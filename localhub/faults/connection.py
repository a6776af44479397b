"""The connection below one request: closed, reset or slowed, which ASGI has no words for."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import TYPE_CHECKING

from localhub.connections import transport_of, until_gone

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

_TICK = 0.02  # seconds


class Connection:
    """What one request arrives on.

    Args:
        scope: Of the request, with the transport in its state.
        receive: Of the request.
        stopping: Says whether the server is being stopped, which ends every wait.
    """

    def __init__(self, scope: Scope, receive: Receive, stopping: Callable[[], bool]) -> None:
        self._transport = transport_of(scope)
        self._receive = receive
        self._stopping = stopping

    @property
    def gone(self) -> bool:
        """Say whether the client has left."""
        return self._transport.is_closing()

    async def wait(self, seconds: float) -> None:
        """Let time pass until the server is stopped or the client has left."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._stopping() and not self.gone:
            await asyncio.sleep(min(_TICK, left))

    async def close(self) -> None:
        """End it as a server that goes away: FIN after all that was written, and RST to what still comes."""
        if await self._delivered() and self._transport.can_write_eof():
            self._transport.write_eof()
            await asyncio.sleep(_TICK)  # closing at once with something unread would be a reset
        self._transport.abort()
        await until_gone(self._receive)

    async def reset(self) -> None:
        """End it with RST after all that was written has arrived."""
        if await self._delivered():
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()
        await until_gone(self._receive)

    async def _delivered(self) -> bool:
        """Wait until the other side has all that was written; RST would take back what it has not."""
        handle = self._transport.get_extra_info("socket").fileno()
        while not self.gone and not self._stopping():
            waiting = struct.unpack("i", ioctl(handle, TIOCOUTQ, bytes(4)))[0]
            if not waiting and not self._transport.get_write_buffer_size():
                return True
            await asyncio.sleep(_TICK / 4)
        return False
