"""Stands before one origin's application and gives each request the fault that is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from localhub.faults.acts import ACTS, Exchange
from localhub.faults.choosing import Faults
from localhub.faults.connection import Connection
from localhub.faults.past import Past

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


def faulty(apps: tuple[ASGIApp, ASGIApp], faults: Faults, stopping: Callable[[], bool]) -> tuple[ASGIApp, ASGIApp]:
    """Return the applications of both origins with faults before them.

    Args:
        apps: The Hub's and storage's.
        faults: The rules.
        stopping: Says whether the server is being stopped, which ends every wait.
    """
    hub, storage = apps
    return _Faulty(hub, "hub", faults, stopping), _Faulty(storage, "storage", faults, stopping)


class _Faulty:
    def __init__(self, app: ASGIApp, origin: str, faults: Faults, stopping: Callable[[], bool]) -> None:
        self._app = app
        self._origin = origin
        self._faults = faults
        self._stopping = stopping
        self._past = Past()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], _address(scope)
        rule = self._faults.choose(method, path, self._origin)
        if rule is not None:
            connection = Connection(scope, receive, self._stopping)
            await ACTS[rule.kind](Exchange(self._app, scope, receive, send, rule, connection, self._past))
        elif self._faults.remembers(method, path):
            await self._past.answer(self._app, scope, receive, send, stale=False)
        else:
            await self._app(scope, receive, send)


def _address(scope: Scope) -> str:
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path
