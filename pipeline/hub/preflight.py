"""What maintainers ask the Hub beside a release: whether it answers, and whose token this is."""

from __future__ import annotations

import time
from typing import Final

from pipeline.hub.answers import TokenInfo
from pipeline.hub.client import Hub
from pipeline.hub.retry import RetryPolicy

ONCE: Final = RetryPolicy(answer=20.0, progress=0.0)


def reach(hub: Hub) -> float:
    """Return the seconds in which the Hub answers the cheapest question, asked once and without a token.

    It is asked the way that a run asks, by the proxy of this environment if there is one.

    Raises:
        HubUnavailableError: It does not.
        CannotHereError: The proxy cannot be used.
    """
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    once = Hub(hub.endpoint, patience=ONCE)
    with once.asking(hub.endpoint):
        began = time.monotonic()
        answer = get_session().get(
            f"{hub.endpoint}/api/models", params={"limit": 1}, headers=build_hf_headers(token=False)
        )
        if answer.status_code >= 500:
            hf_raise_for_status(answer)
    return time.monotonic() - began


def bearer(hub: Hub) -> TokenInfo | None:
    """Return who the token of this Hub stands for; None where there is no token.

    Raises:
        CannotHereError: The Hub does not know the token.
        HubUnavailableError: The Hub does not answer.
    """
    from huggingface_hub.errors import LocalTokenNotFoundError

    with hub.asking(hub.endpoint):
        try:
            return TokenInfo.of(hub.api.whoami(cache=True))
        except LocalTokenNotFoundError:
            return None
