"""The pages: a list of repositories, and one page a repository with its card and its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from localhub.browser.markdown import MOST_CHARACTERS, rendered
from localhub.browser.page import page, path_of
from localhub.card import body_of
from localhub.card_rules import BadCardError, metadata_of
from localhub.names import KINDS
from localhub.web import Call

if TYPE_CHECKING:
    from starlette.responses import Response

_VALUE_CHARACTERS = 500  # of one value of a card's metadata
_README_BYTES = 4 * MOST_CHARACTERS


def home(call: Call) -> Response:
    """List the repositories that the caller may see."""
    kinds = {kind: [(path_of(found), found.repo_id, state) for found, state in call.visible(kind)] for kind in KINDS}
    return page(call, "home", kinds=kinds, most=call.hub.limits.page)


def repository(call: Call) -> Response:
    """Show a repository at a revision: its card, its branches and tags, and its files."""
    found, revision = call.repository(), call.where.get("rev", "main")
    state = found.state()
    files = found.tree(found.commit(found.resolve(revision, state)).tree).files
    readme = files.get("README.md")
    text = ""
    if readme is not None and readme.size <= _README_BYTES:
        text = call.hub.store.objects.read_text(readme.sha256)
    rows, problem = _metadata(text)
    about: dict[str, Any] = {
        "repository": found,
        "state": state,
        "revision": revision,
        "base": path_of(found),
        "refs": [ref.split("/", 2)[2] for ref in sorted(state.refs) if ref.startswith(("refs/heads/", "refs/tags/"))],
        "card": rendered(body_of(text), path_of(found), revision) if readme else None,
        "cut": readme is not None and (readme.size > _README_BYTES or len(text) > MOST_CHARACTERS),
        "metadata": rows,
        "problem": problem,
        "files": sorted(files.items()),
        "most": call.hub.limits.page,
    }
    return page(call, "repository", **about)


def _metadata(text: str) -> tuple[list[tuple[str, str]], str]:
    """Return the rows of a card's metadata, and what is wrong with it."""
    try:
        metadata: Mapping[str, Any] = metadata_of(text)
    except BadCardError as error:
        return [], str(error)
    return [(str(key), _shown(value)) for key, value in metadata.items()], ""


def _shown(value: Any) -> str:
    if isinstance(value, list) and not any(isinstance(part, list | dict) for part in value):
        text = ", ".join(map(str, value))
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[:_VALUE_CHARACTERS]}…"
