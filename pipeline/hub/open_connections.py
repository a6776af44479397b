"""The connections of a transfer, so that another thread can end it at once."""

from __future__ import annotations

import socket
import threading
import weakref
from contextlib import suppress
from typing import Any


class OpenConnections:
    """The connections of a file's transfers, to be cut from another thread.

    Closing a socket wakes nobody who reads from it; shutting it down does. The client tells of its connections by its
    ``trace`` extension alone.
    """

    def __init__(self) -> None:
        self.cut = threading.Event()
        self._lock = threading.Lock()
        self._streams: weakref.WeakSet[Any] = weakref.WeakSet()

    def watch(self, _: str, info: dict[str, Any]) -> None:
        """Hear what the client does; a connection is what it returns from making one."""
        stream = info.get("return_value")
        if hasattr(stream, "get_extra_info"):
            with self._lock:
                self._streams.add(stream)
            if self.cut.is_set():
                shut(stream)

    def shut(self) -> None:
        """Cut all connections, now and later."""
        self.cut.set()
        with self._lock:
            for stream in list(self._streams):
                shut(stream)


def shut(stream: Any) -> None:
    """Shut a connection down in both directions."""
    with suppress(OSError):  # it is down already
        stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
