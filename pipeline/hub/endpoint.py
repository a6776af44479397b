"""The address of a Hub, and whether it may be asked: what is wrong with either is said before anything is sent."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from urllib.parse import SplitResult, urlsplit

from pipeline.errors import CannotHereError, PublishError, RecipeError


class OfflineError(CannotHereError):
    """``HF_HUB_OFFLINE`` forbids to ask any Hub."""


LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "0.0.0.0")  # noqa: S104  recognised, never listened on


def endpoint_of(given: str | None) -> str:
    """Return the address of the Hub that is asked.

    Args:
        given: The address on the command line; None for what ``HF_ENDPOINT`` names, huggingface.co by default.

    Raises:
        RecipeError: The one on the command line is no address.
        CannotHereError: ``HF_ENDPOINT`` is none.
        OfflineError: No Hub may be asked.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise OfflineError(
            "HF_HUB_OFFLINE is set, and this asks a Hub.",
            remedy="Unset it. Without a Hub there are `publish check`, and of a source in a folder `publish plan`, "
            "`publish quantize` and `publish run --stop-after validate`.",
        )
    address = given or constants.ENDPOINT
    parts = split(address)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise no_address(address, "--hub" if given else "HF_ENDPOINT")
    return address.rstrip("/")


def require_importable() -> None:
    """Refuse an ``HF_ENDPOINT`` with which ``huggingface_hub`` cannot even be imported.

    Raises:
        CannotHereError: It is none that can be read.
    """
    named = os.environ.get("HF_ENDPOINT")
    if named and split(named) is None:
        raise no_address(named, "HF_ENDPOINT")


def split(address: str) -> SplitResult | None:
    """Return the parts of an address; None where it cannot be one: a bracket is never closed, a port is no port."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    return None if port == 0 else parts


def no_address(address: str, giver: str) -> PublishError:
    """Return the error for an address that lacks its scheme or its host, or is broken."""
    bare = re.sub(r"^[a-zA-Z]*:/*(?=\D|$)", "", address)
    scheme = "http" if bare.startswith(LOOPBACK) else "https"
    likely = f"{scheme}://{bare or 'huggingface.co'}"
    remedy = f"Write it with its scheme: {likely}." if split(likely) else "Write it as in https://huggingface.co."
    if giver == "--hub" and get_close_matches(bare.lower(), ["local"]):
        remedy = "Did you mean local?"
    kind = RecipeError if giver == "--hub" else CannotHereError
    what = f"{giver} is {address!r}, which is no address of a Hub."
    return kind(what, remedy=remedy)
