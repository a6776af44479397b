"""Between HTTP and the rooms behind it: what a call carries, and how answers and refusals are written."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qs, unquote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from localhub.access import User, require
from localhub.bodies import parsed
from localhub.door import Authenticator
from localhub.names import url_prefix
from localhub.refusals import RefusedError, bad_request, gated, repo_not_found
from localhub.repository import Repository
from localhub.store import Store

if TYPE_CHECKING:
    from starlette.datastructures import Headers, QueryParams
    from starlette.requests import Request

_BODY_BYTES = 16 << 20  # far above any call that is not itself a file or a commit
SHORT: Final = "short"  # in the state of a request: give tokens and addresses that have expired already
STRANGER: Final = "stranger"  # in the state of a request: a page of another site sent it
_UNPRINTABLE = re.compile(r"[^ -~]+")
_FORM_FIELDS = 100_000
_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True)
class Limits:
    """Sizes and times that a test may lower.

    Attributes:
        page: Entries of one answer of a listing.
        token_seconds: How long the tokens of trusted publishers and of Xet, and the addresses of storage, are valid.
    """

    page: int = 1000
    token_seconds: int = 3600


@dataclass(frozen=True)
class Hub:
    """One running Hub: its store, its door, its two origins and its limits."""

    store: Store
    door: Authenticator
    endpoint: str
    storage: str
    limits: Limits

    @property
    def xet(self) -> str:
        """The address that Xet clients talk to; what they remember of a store, they remember by this address."""
        return f"{self.storage}/xet/{self.store.id}"

    def repo_url(self, repository: Repository) -> str:
        """Return the web address of a repository; those of its commits and discussions begin with it."""
        return f"{self.endpoint}/{url_prefix(repository.kind)}{repository.repo_id}"

    def signed(self, verb: str, *names: object) -> str:
        """Return an address on the storage origin that nobody else can make, and that expires."""
        rest = "/".join(map(str, (int(time.time()) + self.limits.token_seconds, *names)))
        return f"{self.storage}/{verb}/{self.signature(verb, rest)}/{rest}"

    def check_signed(self, verb: str, where: Mapping[str, str], *names: str) -> None:
        """Refuse an address that this Hub did not give, or gave too long ago.

        Args:
            verb: The first part of its path.
            where: The parts of its path: ``signature``, ``expires`` and the names.
            names: Which parts were signed, in order, after ``expires``.

        Raises:
            RefusedError: 403, as storages answer.
        """
        rest = "/".join(where[name] for name in ("expires", *names))
        if not hmac.compare_digest(self.signature(verb, rest), where["signature"]):
            raise RefusedError(403, "InvalidSignature", "This address was not given by the Hub.")
        if int(where["expires"]) <= time.time():
            raise RefusedError(403, "ExpiredAddress", "This address has expired; ask the Hub for another one.")

    def signature(self, verb: str, rest: str) -> str:
        """Return what proves that the Hub made an address."""
        return hmac.new(self.store.key, f"{verb}/{rest}".encode(), hashlib.sha256).hexdigest()[:32]


@dataclass(frozen=True)
class Call:
    """One request, read completely, as the functions behind the routes take it."""

    hub: Hub
    caller: User
    where: Mapping[str, str]
    query: QueryParams
    headers: Headers
    url: str
    body: bytes = b""

    def json(self) -> dict[str, Any]:
        """Return the body, which has to be a JSON object; an empty body is an empty one."""
        value = parsed(self.body or b"{}")
        if value is not None and not isinstance(value, dict):
            raise bad_request("The body is not a JSON object.")
        return value or {}

    def text(self, name: str, default: str | None = None) -> str:
        """Return a field of the body that has to be a string."""
        value = self.json().get(name, default)
        if not isinstance(value, str):
            raise bad_request(f"{name!r} has to be a string.")
        return value

    def rows(self, name: str) -> list[Any]:
        """Return a field of the body that has to be a list."""
        value = self.json().get(name, [])
        if not isinstance(value, list):
            raise bad_request(f"{name!r} has to be a list.")
        return value

    def form(self, name: str) -> list[str]:
        """Return all values of a field of a URL-encoded form."""
        try:
            fields = parse_qs(self.body.decode(errors="replace"), keep_blank_values=True, max_num_fields=_FORM_FIELDS)
        except ValueError as error:
            raise bad_request("This form has too many fields.") from error
        return fields.get(name, [])

    def repository(self) -> Repository:
        """Return the repository of the address, if the caller may know of it."""
        repository = self.hub.store.find(self.where.get("kind", "models"), f"{self.where['ns']}/{self.where['name']}")
        if not may_see(self.caller, repository):
            raise repo_not_found()
        return repository

    def writable(self) -> Repository:
        """Return the repository of the address, if the caller may change it."""
        repository = self.repository()
        allowed = self.caller.may_write(repository.kind, repository.repo_id)
        require(self.caller, allowed, f"write to {repository.repo_id!r}")
        return repository

    @property
    def opens_pull(self) -> bool:
        """Whether a commit is meant for a pull request of its own, which is opened with it."""
        return self.query.get("create_pr") in {"1", "true"}

    def committable(self) -> Repository:
        """Return the repository of the address, if the caller may commit what they announce.

        A pull request of the caller's own, new or open already, needs only the right to discuss.
        """
        pull = self.repository().state().pull(self.where["rev"])
        if self.opens_pull or (pull is not None and pull.author == self.caller.name):
            return self.discussable()
        return self.writable()

    def discussable(self) -> Repository:
        """Return the repository of the address, if the caller may take part in its pull requests."""
        repository = self.repository()
        allowed = self.caller.may_discuss(repository.kind, repository.repo_id)
        require(self.caller, allowed, f"discuss {repository.repo_id!r}")
        return repository

    def downloadable(self) -> Repository:
        """Return the repository of the address, if the caller may have the contents of its files.

        Raises:
            RefusedError: 404 where the caller must not know of it, 403 ``GatedRepo`` where it was not let in.
        """
        repository = self.repository()
        if not may_download(self.caller, repository):
            raise gated(repository.repo_id)
        return repository


def may_see(caller: User, repository: Repository) -> bool:
    """Say whether a caller may know of a repository: a private one exists only for those who may read it."""
    return repository.state().visibility != "private" or caller.may_read(repository.kind, repository.repo_id)


def may_download(caller: User, repository: Repository) -> bool:
    """Say whether a caller who sees a repository may have the contents of its files."""
    return not repository.state().gated or caller.may_read_gated(repository.kind, repository.repo_id)


def hub_of(request: Request) -> Hub:
    """Return the Hub that answers a request, which may be told to give out what has expired already."""
    hub = cast("Hub", request.app.state.hub)
    return replace(hub, limits=replace(hub.limits, token_seconds=-1)) if SHORT in request.scope["state"] else hub


def call_of(request: Request) -> Call:
    """Read everything but the body of a request."""
    hub = hub_of(request)
    return Call(
        hub=hub,
        caller=hub.door.caller(request.headers.get("authorization"), stranger=STRANGER in request.scope["state"]),
        where={name: unquote(value) for name, value in request.path_params.items()},
        query=request.query_params,
        headers=request.headers,
        url=f"{hub.endpoint}{request.scope['path']}",
    )


def answering(work: Callable[[Call], Response]) -> Callable[[Request], Awaitable[Response]]:
    """Make an endpoint of a plain function: who calls is checked, the body read, the work done on a thread."""

    async def answer(request: Request) -> Response:
        call, body = await run_in_threadpool(call_of, request), bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _BODY_BYTES:
                raise RefusedError(413, "PayloadTooLarge", "The body of this call is too large.")
        return await run_in_threadpool(work, replace(call, body=bytes(body)))

    return answer


def refused(_: Request, error: Exception) -> Response:
    """Write a refusal as an answer."""
    refusal = error if isinstance(error, RefusedError) else _as_refusal(error)
    message = refusal.message[:_MESSAGE_CHARACTERS]  # what was sent may be quoted in it
    headers = {"X-Error-Code": refusal.code, "X-Error-Message": _one_line(message), **refusal.headers}
    return JSONResponse({"error": message, **refusal.extra}, refusal.status, headers)


def _as_refusal(error: Exception) -> RefusedError:
    if isinstance(error, HTTPException):
        return RefusedError(error.status_code, error.detail.replace(" ", ""), error.detail)
    raise error


def _one_line(message: str) -> str:
    """Return a message as a header may carry it."""
    return _UNPRINTABLE.sub(" ", message.encode("ascii", "backslashreplace").decode()).strip()
