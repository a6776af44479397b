"""What maintainers ask the Hub beside a release: whether it answers, and whose token this is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import CannotHereError, HubUnavailableError
from pipeline.hub.failures import LATER, hub_errors

if TYPE_CHECKING:
    from pipeline.hub.client import Hub

REACH_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Bearer:
    """Who a token stands for; the token itself is never part of it.

    Attributes:
        name: The user.
        role: ``read``, ``write``, ``fineGrained`` or what else the Hub calls it.
        scopes: For a fine-grained token, what it may do where: ``alice/model: repo.write``.
    """

    name: str
    role: str
    scopes: tuple[str, ...] = ()


def reach(hub: Hub) -> float:
    """Return the seconds in which the Hub answers the cheapest question, asked once and without a token.

    Raises:
        HubUnavailableError: It does not.
    """
    import httpx2

    with hub_errors(hub.endpoint):
        began = time.monotonic()
        answer = httpx2.get(f"{hub.endpoint}/api/models", params={"limit": 1}, timeout=REACH_SECONDS)
    if answer.status_code >= 500:
        reason = f"The Hub does not answer as it should (status {answer.status_code})."
        raise HubUnavailableError(reason, where=hub.endpoint, remedy=LATER)
    return time.monotonic() - began


def bearer(hub: Hub) -> Bearer | None:
    """Return who the token of this Hub stands for; None where there is no token.

    Raises:
        CannotHereError: The Hub does not know the token.
        HubUnavailableError: The Hub does not answer.
    """
    from huggingface_hub.errors import LocalTokenNotFoundError

    with hub_errors(hub.endpoint):
        try:
            said = hub.api.whoami()
        except LocalTokenNotFoundError:
            return None
        token = said.get("auth", {}).get("accessToken", {})
        scopes = scopes_of(token.get("fineGrained") or {})
        return Bearer(str(said.get("name", "?")), str(token.get("role", "?")), scopes)


def scopes_of(fine: dict[str, Any]) -> tuple[str, ...]:
    """Return what a fine-grained token may do, as the Hub's ``whoami-v2`` tells it."""
    everywhere = [f"everywhere: {', '.join(fine['global'])}"] if fine.get("global") else []
    scoped = [
        f"{scope.get('entity', {}).get('name', '?')}: {', '.join(scope.get('permissions', []))}"
        for scope in fine.get("scoped", [])
    ]
    return (*everywhere, *scoped)


def writable(hub: Hub, repo: str) -> str:
    """Return what this token may do to a destination, as words for people: ``write`` or ``create``.

    Raises:
        CannotHereError: It may do neither.
        HubUnavailableError: The Hub does not answer.
    """
    hub.require_writer(repo)
    return "write" if exists(hub, repo) else "create"


def exists(hub: Hub, repo: str) -> bool:
    """Return whether a repository is there for this token; one that it may not even see is not."""
    try:
        return hub.find(repo, None) is not None
    except CannotHereError:
        return False
