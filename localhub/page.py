"""The page of a repository, for people with a browser: its rendered card and its files, without a script.

Whatever a repository contains is text here: the template escapes it, the card loses its HTML and its addresses of other
schemes, and the headers forbid what might still slip through.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.responses import HTMLResponse

from localhub.card_rules import FRONT_MATTER
from localhub.files import human_size
from localhub.names import url_prefix
from localhub.web import Call

if TYPE_CHECKING:
    from starlette.responses import Response

_MOST_CHARACTERS = 100_000  # more is not rendered, for a text made to take long takes a second then


def repository(call: Call) -> Response:
    """Show a repository at a revision; relative addresses of its card lead to its files."""
    found, revision = call.repository(), call.where.get("rev", "main")
    state = found.state()
    files = found.tree(found.commit(found.resolve(revision, state)).tree).files
    card = call.hub.store.objects.read_text(files["README.md"].sha256) if "README.md" in files else ""
    metadata = FRONT_MATTER.match(card)
    text = FRONT_MATTER.sub("", card, count=1)[:_MOST_CHARACTERS]
    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    template = _environment().get_template("page.jinja")
    page = template.render(
        repository=found,
        state=state,
        revision=revision,
        base=f"/{url_prefix(found.kind)}{found.repo_id}/resolve/{quote(revision, safe='')}/",
        metadata=metadata[1] if metadata else "",
        card=Markup(rendered),  # noqa: S704 - the renderer escapes text
        files=sorted(files.items()),
        most=call.hub.limits.page,
    )
    policy = f"default-src 'none'; img-src 'self' {call.hub.storage}; style-src 'unsafe-inline'"
    policy += "; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"})


@cache
def _environment() -> Environment:
    environment = Environment(loader=PackageLoader(__package__, ""), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"size": human_size, "path": quote}
    return environment
