"""Readers: the Hubs as a recipe reads of them, with the token of its own that it may name.

A trusted publisher's token writes to one repository and opens no gate, so a gated source takes another one. It goes to
the Hub that sources come from (``HF_ENDPOINT``) and to no other.
"""

from __future__ import annotations

import os

from pipeline.errors import CannotHereError
from pipeline.hub.client import Hub
from pipeline.recipe import FolderSource, HubSource


def readers(hub: Hub, fallback: Hub, source: HubSource | FolderSource) -> tuple[Hub, Hub]:
    """Return the Hub that is published to and the one that sources come from, to read what a recipe names.

    Args:
        hub: The first.
        fallback: The second; often they are the same.
        source: Says by which variable's token both are read, if by none that the client finds by itself.

    Raises:
        CannotHereError: That variable is not set.
    """
    if isinstance(source, FolderSource) or source.token is None:
        return hub, fallback
    token = os.environ.get(source.token, "").strip()
    if not token:
        remedy = f"Set {source.token} to a token that may read the source, or leave `token` out of the recipe."
        raise CannotHereError(f"The variable {source.token} is not set.", where=source.repo, remedy=remedy)
    return hub.with_token(token) if hub.endpoint == fallback.endpoint else hub, fallback.with_token(token)
