"""The pages that lead to repositories: the first one, collections, and the way in."""

from __future__ import annotations

from typing import Any

from starlette.responses import RedirectResponse, Response

from pipeline.hub.local.access import Anonymous
from pipeline.hub.local.browser.page import asking_for_a_token, page, path_of
from pipeline.hub.local.collecting import found_in, told, visible
from pipeline.hub.local.names import KINDS, kind_of, url_prefix
from pipeline.hub.local.web import Call


def home(call: Call) -> Response:
    """List the repositories and collections that the caller may see, with ``author`` those of one owner."""
    author, most = call.query.get("author"), call.hub.limits.page
    kinds: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for kind, rows in kinds.items():
        for repository, state in call.visible(kind):
            if author in {None, repository.namespace}:
                rows.append((path_of(repository), repository.repo_id, state))
    collections = [found for found in visible(call) if author in {None, found.owner}]
    return page(call, "home", kinds=kinds, collections=collections, author=author, most=most)


def collection(call: Call) -> Response:
    """Show a collection."""
    found = told(call, found_in(call))
    for item in found["items"]:
        item["address"] = _address(item)
    return page(call, "collection", collection=found)


def login(call: Call) -> Response:
    """Make the browser ask for a token and send it from then on; who has one is led to the first page."""
    if isinstance(call.caller, Anonymous):
        return asking_for_a_token(call)
    return RedirectResponse("/", 303)


def _address(item: dict[str, Any]) -> str | None:
    if item["type"] == "paper":
        return None
    if item["type"] == "collection":
        return f"/collections/{item['id']}"
    return f"/{url_prefix(kind_of(item['type']))}{item['id']}"
