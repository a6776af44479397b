"""Which address leads to which room, for both origins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from localhub import card, info, lfs, listing, page, preupload, pulls, refs, repos, storage
from localhub.commits import commit
from localhub.download import resolve, resolve_cached
from localhub.exchange import exchange
from localhub.refusals import RefusedError, repo_not_found
from localhub.same_site import HOSTS, SameSite
from localhub.web import Hub, answering, refused
from localhub.xet import cas, connection

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _Kind(Convertor[str]):
    regex = "models|datasets"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _Revision(_Kind):
    """A revision is one quoted segment; some clients leave the slashes of these two kinds of refs as they are."""

    regex = "refs/(?:pr|convert)/[^/]+|[^/]+"


class _Owner(_Kind):
    """Whoever may own repositories; what stands first in other addresses is nobody's name."""

    regex = "(?!(?:api|oauth|models|datasets)/)[^/]+"


register_url_convertor("kind", _Kind())
register_url_convertor("owner", _Owner())
register_url_convertor("rev", _Revision())

_REPO = "/api/{kind:kind}/{ns}/{name}"
_AT = "/tree/{rev:rev}"
_CALLS = (
    ("GET", "/api/whoami-v2", repos.whoami),
    ("GET", "/api/agent-harnesses", repos.agent_harnesses),
    ("POST", "/api/validate-yaml", card.validate),
    ("POST", "/oauth/token", exchange),
    ("POST", "/api/repos/create", repos.create),
    ("DELETE", "/api/repos/delete", repos.delete),
    ("GET", f"{_REPO}", info.repo_info),
    ("GET", f"{_REPO}/revision/{{rev:rev}}", info.repo_info),
    ("PUT", f"{_REPO}/settings", repos.change_settings),
    ("GET", f"{_REPO}/auth-check/write", repos.check_write),
    ("GET", f"{_REPO}/tree/{{rev:rev}}", listing.list_tree),
    ("GET", f"{_REPO}/tree/{{rev:rev}}/{{path:path}}", listing.list_tree),
    ("POST", f"{_REPO}/paths-info/{{rev:rev}}", listing.paths_info),
    ("POST", f"{_REPO}/preupload/{{rev:rev}}", preupload.preupload),
    ("GET", f"{_REPO}/xet-read-token/{{rev:rev}}", connection.read_token),
    ("GET", f"{_REPO}/xet-write-token/{{rev:rev}}", connection.write_token),
    ("GET", f"{_REPO}/refs", refs.list_refs),
    ("POST", f"{_REPO}/super-squash/{{rev:rev}}", refs.super_squash),
    ("GET", f"{_REPO}/commits/{{rev:rev}}", refs.list_commits),
    ("POST", f"{_REPO}/branch/{{rev:rev}}", refs.create_branch),
    ("DELETE", f"{_REPO}/branch/{{rev:rev}}", refs.delete_branch),
    ("POST", f"{_REPO}/tag/{{rev:rev}}", refs.create_tag),
    ("DELETE", f"{_REPO}/tag/{{rev:rev}}", refs.delete_tag),
    ("GET", f"{_REPO}/discussions", pulls.listed),
    ("POST", f"{_REPO}/discussions", pulls.create),
    ("GET", f"{_REPO}/discussions/{{num}}", pulls.details),
    ("POST", f"{_REPO}/discussions/{{num}}/status", pulls.change_status),
    ("POST", "/{ns}/{name}.git/info/lfs/objects/batch", lfs.batch),
    ("POST", "/{kind:kind}/{ns}/{name}.git/info/lfs/objects/batch", lfs.batch),
    ("POST", "/{ns}/{name}.git/info/lfs/objects/verify", lfs.verify),
    ("POST", "/{kind:kind}/{ns}/{name}.git/info/lfs/objects/verify", lfs.verify),
    ("GET", "/{kind:kind}/{ns}/{name}/resolve/{rev:rev}/{path:path}", resolve),
    ("GET", "/{ns}/{name}/resolve/{rev:rev}/{path:path}", resolve),
    ("GET", "/{kind:kind}/{ns}/{name}/blob/{rev:rev}/{path:path}", resolve),  # where the Hub has a page about a file
    ("GET", "/{ns:owner}/{name}/blob/{rev:rev}/{path:path}", resolve),
    ("GET", "/api/resolve-cache/{kind:kind}/{ns}/{name}/{rev}/{path:path}", resolve_cached),
)
_PAGES = [f"{place}{rest}" for place in ("/{kind:kind}/{ns}/{name}", "/{ns:owner}/{name}") for rest in ("", _AT)]
_WITHOUT_NAMESPACE = (
    "/api/{kind:kind}/{name}",
    "/api/{kind:kind}/{name}/revision/{rest:path}",
    "/{name}/resolve/{rest:path}",
    "/{kind:kind}/{name}/resolve/{rest:path}",
)
_PASSIVE = "default-src 'none'; sandbox"  # a repository's files are strangers' files, also those in HTML
_UPLOAD = "/uploads/{signature}/{expires}/{sha256}/{size}/{kind:kind}/{ns}/{name}"


def hub_app(hub: Hub) -> Starlette:
    """Return the Hub itself: everything but the bytes of large files."""
    routes = [Route(path, answering(work), methods=[method]) for method, path, work in _CALLS]
    routes.append(Route(f"{_REPO}/commit/{{rev:rev}}", commit, methods=["POST"]))
    routes += [Route(path, _no_such_repository, methods=["GET"]) for path in _WITHOUT_NAMESPACE]
    routes += [Route(path, answering(page.repository), methods=["GET"]) for path in _PAGES]
    return _app(hub, routes)


def storage_app(hub: Hub) -> Starlette:
    """Return the second origin, which holds the bytes of large files."""
    routes = [
        Route("/objects/{signature}/{expires}/{sha256}", storage.get, methods=["GET"]),
        Route(_UPLOAD, storage.put, methods=["PUT"]),
        Route(f"/xet/{hub.store.id}/v1/xorbs/default/{{hash}}", cas.put_xorb, methods=["POST"]),
        Route(f"/xet/{hub.store.id}/v1/shards", cas.put_shard, methods=["POST"]),
        Route(f"/xet/{hub.store.id}/v1/reconstructions/{{hash}}", cas.reconstruct, methods=["GET"]),
        Route("/xorbs/{signature}/{expires}/{span}/{hash}", cas.get_xorb, methods=["GET"]),
        Route("/v1/telemetry", cas.telemetry, methods=["POST"]),
    ]
    return _app(hub, routes)


class _Wire:
    """Keeps paths quoted until they are split; gives answers an id, errors a code, and browsers nothing to run."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Request-Id", token_hex(8))
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Content-Security-Policy", _PASSIVE)
                if message["status"] >= HTTPStatus.BAD_REQUEST:
                    headers.setdefault("X-Error-Code", HTTPStatus(message["status"]).phrase.replace(" ", ""))
            await send(message)

        # A revision such as refs%2Fpr%2F1 is one segment of the path, which unquoting first would lose.
        await self._app({**scope, "path": scope["raw_path"].decode("latin-1")}, receive, send_marked)


def _app(hub: Hub, routes: list[Route]) -> Starlette:
    handlers: dict[Any, Callable[[Request, Exception], Response | Awaitable[Response]]] = {
        RefusedError: refused,
        HTTPException: refused,
        ClientDisconnect: _gone,
    }
    named = Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)
    middleware = [Middleware(_Wire), named, Middleware(SameSite)]
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
    app.router.redirect_slashes = False
    app.state.hub = hub
    return app


async def _no_such_repository(_: Request) -> Response:
    """Answer for names without a namespace: here every repository has one."""
    raise repo_not_found()


def _gone(_: Request, __: Exception) -> Response:
    """End a request whose sender has gone; nobody reads this."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)
