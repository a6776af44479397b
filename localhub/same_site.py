"""Which web pages may speak to the Hub: its own. A browser on this machine would carry any page's requests to it.

Programs send neither header. Browsers send ``Origin`` with every unsafe request to another origin, and
``Sec-Fetch-Site`` with every request (https://fetch.spec.whatwg.org/#origin-header, https://www.w3.org/TR/fetch-metadata/).
A page whose name was made to point here (DNS rebinding) names itself in ``Host``, which is checked before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.requests import Request

from localhub.refusals import forbidden
from localhub.web import refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # they change nothing, and another site's page cannot read them
_OURS: Final = frozenset({"same-origin", "none"})  # none: what a person typed into the address bar


class SameSite:
    """Refuses what a page of another site asks a browser to change here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403."""
        if scope["type"] != "http" or scope["method"] in _SAFE or _is_ours(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        refusal = forbidden("A page of another site may change nothing here.")
        await refused(Request(scope), refusal)(scope, receive, send)


def _is_ours(headers: Headers) -> bool:
    """Say whether a request comes from a page of the Hub, or from no page at all."""
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{headers.get('host')}":
        return False
    return headers.get("sec-fetch-site", "none") in _OURS
