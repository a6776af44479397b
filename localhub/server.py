"""Starting and stopping the Hub: two loopback ports, one event loop, one thread."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from localhub.app import hub_app, storage_app
from localhub.connections import KnownConnection
from localhub.door import Authenticator
from localhub.errors import LocalHubError
from localhub.faults import Faults, faulty
from localhub.files import write_atomically
from localhub.store import Store
from localhub.web import Hub, Limits

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = "127.0.0.1"


@contextmanager
def running(
    root: Path,
    port: int = 0,
    tokens: Mapping[str, Any] | None = None,
    *,
    limits: Limits | None = None,
    faults: Faults | None = None,
) -> Iterator[str]:
    """Serve a Hub from a thread of this process for as long as the context lasts.

    Args:
        root: The store; made when it is not there, and what is in it is served again.
        port: The port of the Hub, or 0 for any; large files have another one.
        tokens: Who may do what, as in ``tokens.json`` of the store, which is read when nothing is given.
        limits: Sizes other than the usual ones.
        faults: What goes wrong; without it nothing stands between the clients and the Hub.

    Yields:
        The endpoint, to be used as ``HF_ENDPOINT``.

    Raises:
        LocalHubError: The port is taken or not allowed.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)  # private repositories are files in it
    store = Store(root)
    with _listening(port) as front, _listening_again(root / "storage.port") as back:
        hub = Hub(store, Authenticator.of(root, tokens), _address(front), _address(back), limits or Limits())
        apps: tuple[ASGIApp, ASGIApp] = hub_app(hub), storage_app(hub)
        if faults is not None:
            apps = faulty(apps, faults, lambda: server.should_exit)
        origins = dict(zip((_port(front), _port(back)), apps, strict=True))
        server = uvicorn.Server(_config(_by_port(origins)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [front, back]}, name="hub", daemon=True)
        thread.start()
        try:
            while thread.is_alive() and not server.started:
                time.sleep(0.002)
            if not server.started:
                raise LocalHubError("The embedded Hub did not start; its thread has ended.")
            yield hub.endpoint
        finally:
            server.should_exit = True
            thread.join()


def serve(root: Path, port: int, faults: Faults | None = None, ready: Callable[[str], None] = lambda _: None) -> None:
    """Serve a Hub, perhaps one with faults, until SIGINT or SIGTERM; to be called on the main thread.

    Args:
        root: The store.
        port: The port, or 0 for any.
        faults: What goes wrong.
        ready: Hears the endpoint as soon as it is served.

    Raises:
        LocalHubError: As `running`.
    """
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with running(root, port, faults=faults) as endpoint:
            ready(endpoint)
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listening(port: int) -> socket.socket:
    """Open a port. The protocol is named because asyncio turns Nagle's delay of 40 ms off only where it is."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_HOST, port))
        listening.listen()  # two that were bound at once may not both listen
    except OSError as error:
        listening.close()
        remedy = "Choose another one, or 0 for any that is free."
        raise LocalHubError(f"Port {port} cannot be opened ({error.strerror}).", remedy=remedy) from error
    return listening


def _listening_again(record: Path) -> socket.socket:
    """Open the port of last time, or another: Xet's clients take up an upload where they knew the storage before."""
    before = int(record.read_bytes()) if record.exists() else 0
    try:
        listening = _listening(before)
    except LocalHubError:
        listening = _listening(0)
    write_atomically(record, str(_port(listening)).encode())
    return listening


def _address(listening: socket.socket) -> str:
    return f"http://{_HOST}:{_port(listening)}"


def _port(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


def _by_port(origins: Mapping[int, ASGIApp]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await origins[scope["server"][1]](scope, receive, send)

    return app


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=KnownConnection,
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        server_header=False,
        timeout_keep_alive=120,  # longer than any client keeps an idle connection, so no request meets a closing one
        timeout_graceful_shutdown=5,
    )
