"""Who is at the door: the bearer of each token, as ``tokens.json`` of the store has it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from localhub.access import ANONYMOUS, OWNER, User
from localhub.errors import LocalHubError
from localhub.publishers import Publishers
from localhub.refusals import unknown_token

_DIGEST = "sha256:"
_OTHERS = 0o077  # permissions of a file for anybody but its owner


class Authenticator:
    """Knows every token's caller; without tokens at all, everyone is the local owner.

    Tokens are known by their SHA-256 alone. Looking one up compares digests, whose bytes nobody can choose, so the time
    it takes tells nothing of a token.
    """

    def __init__(self, callers: Mapping[str, User] | None, publishers: Publishers) -> None:
        self._callers = callers
        self.publishers = publishers

    @classmethod
    def of(cls, root: Path, tokens: Mapping[str, Any] | None) -> Authenticator:
        """Take the tokens given, else those of ``tokens.json`` in the store, else none; and the trusted publishers.

        Raises:
            LocalHubError: A file is not what the Hub reads, or others than its owner may read the tokens.
        """
        path = root / "tokens.json"
        where = "the tokens given"
        if tokens is None and path.exists():
            tokens, where = _content(path), str(path)
        callers = None if tokens is None else _read(tokens, where)
        return cls(callers, Publishers.of(root))

    def caller(self, authorization: str | None, *, stranger: bool = False) -> User:
        """Return who an ``Authorization`` header, ``Bearer`` with a token, stands for.

        Args:
            authorization: The header.
            stranger: Whether a page of another site sent it, who is no owner of anything.

        Raises:
            RefusedError: 401 for a token nobody was given, or one that has expired.
        """
        scheme, _, credentials = (authorization or "").partition(" ")
        token = credentials.strip() if scheme.lower() == "bearer" else ""
        if self._callers is None:
            return ANONYMOUS if stranger else OWNER
        if not authorization:
            return ANONYMOUS
        caller = self._callers.get(_sha256(token)) or self.publishers.caller(token)
        if caller is None or (caller.expires is not None and caller.expires <= datetime.now(UTC)):
            raise unknown_token()
        return caller


def _content(path: Path) -> dict[str, Any]:
    if path.stat().st_mode & _OTHERS:
        remedy = f"Run chmod 600 {path}, and replace the tokens if others have accounts here."
        raise LocalHubError("Others than its owner may read this file.", where=str(path), remedy=remedy)
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError):  # the cause would show the tokens
        raise LocalHubError("This file is no JSON object.", where=str(path), remedy="Correct it.") from None


def _read(tokens: Mapping[str, Any], where: str) -> dict[str, User]:
    """Read who the tokens belong to; what is wrong is told by the bearer's number, never by the token."""
    callers = {}
    for number, (token, bearer) in enumerate(tokens.items(), start=1):
        try:
            user = User.model_validate(bearer)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
            place = ".".join(map(str, problem["loc"])) or "as a whole"
            remedy = 'Each token needs an object such as {"name": "alice", "role": "write"}.'
            told = f"These are not the tokens of a Hub: number {number}, {place}: {problem['msg']}."
            raise LocalHubError(told, where=where, remedy=remedy) from None  # the cause would show what was read
        callers[token.removeprefix(_DIGEST).lower() if token.startswith(_DIGEST) else _sha256(token)] = user
    return callers


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
