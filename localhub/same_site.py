"""What web pages may do here: the Hub's own all, those of other sites read what is public, as they do on the real Hub.

A browser on this machine would carry any page's requests to the Hub. A page of another site is nobody here, also where
everyone else is the owner, and changes nothing. What it may read it is told in the headers of the Fetch standard
(https://fetch.spec.whatwg.org/#http-cors-protocol), without which no page could load a model; never with credentials.

Programs send neither header. Browsers send ``Origin`` with every unsafe request to another origin, and
``Sec-Fetch-Site`` with every request (https://fetch.spec.whatwg.org/#origin-header, https://www.w3.org/TR/fetch-metadata/).
A page whose name was made to point here (DNS rebinding) names itself in ``Host``, which is checked before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response

from localhub.refusals import forbidden
from localhub.web import STRANGER, refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # they change nothing
_OURS: Final = frozenset({"same-origin", "none"})  # none: what a person typed into the address bar
_READABLE: Final = {
    "Access-Control-Allow-Origin": "*",  # with which no browser sends or takes cookies
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Length, Content-Range, ETag, Link, X-Error-Code, "
    "X-Error-Message, X-Linked-Etag, X-Linked-Size, X-Repo-Commit, X-Request-Id, X-Xet-Hash",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_ASKED_BEFORE: Final = _READABLE | {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Authorization, Cache-Control, If-None-Match, If-Range, Range",
    "Access-Control-Max-Age": "86400",
}


class SameSite:
    """Refuses what a page of another site asks a browser to change here, and lets it read as a stranger does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it: with 403, or what may be asked."""
        if scope["type"] != "http" or _is_ours(headers := Headers(scope=scope)):
            await self._app(scope, receive, _varying(send))
        elif scope["method"] not in _SAFE:
            refusal = forbidden("A page of another site may change nothing here.")
            await refused(Request(scope), refusal)(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=_ASKED_BEFORE)(scope, receive, send)
        elif headers.get("sec-fetch-mode") == "navigate":  # a link was followed, and the other page sees nothing of it
            await self._app(scope, receive, _varying(send))
        else:
            known = {**scope, "state": {**scope.get("state", {}), STRANGER: True}}
            await self._app(known, receive, _varying(send, _READABLE))


def _varying(send: Send, more: Mapping[str, str] = {}) -> Send:
    """Return what marks an answer as one to this origin alone: another page may not find it in the browser's cache."""

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.add_vary_header("Origin, Sec-Fetch-Site")
            headers.update(more)
        await send(message)

    return send_marked


def _is_ours(headers: Headers) -> bool:
    """Say whether a request comes from a page of the Hub, or from no page at all."""
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{headers.get('host')}":
        return False
    return headers.get("sec-fetch-site", "none") in _OURS
