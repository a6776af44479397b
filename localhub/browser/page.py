"""How a page is made: templates that escape everything, the headers that keep it passive, and refusals as pages."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from localhub.files import human_size
from localhub.names import url_prefix
from localhub.refusals import RefusedError
from localhub.repository import Repository
from localhub.web import Call


def page(call: Call, template: str, status: int = 200, **values: Any) -> Response:
    """Render a template as the answer."""
    text = _environment().get_template(f"{template}.jinja").render(**values)
    return HTMLResponse(text, status, headers=_headers(call))


def showing(view: Callable[[Call], Response]) -> Callable[[Call], Response]:
    """Make a page of what a view refuses, too."""

    def shown(call: Call) -> Response:
        try:
            return view(call)
        except RefusedError as refusal:
            answer = page(call, "refusal", refusal.status, message=refusal.message)
            answer.headers["X-Error-Code"] = refusal.code
            return answer

    return shown


def path_of(repository: Repository) -> str:
    """Return the path of a repository's page."""
    return f"/{url_prefix(repository.kind)}{repository.repo_id}"


def _headers(call: Call) -> dict[str, str]:
    images = f"'self' {call.hub.storage}"
    forbidden = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return {
        "Content-Security-Policy": (f"default-src 'none'; img-src {images}; style-src 'unsafe-inline'; {forbidden}"),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "private, no-cache",
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": human_size, "segment": lambda text: quote(text, safe=""), "path": quote}
    return environment
