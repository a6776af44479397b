"""Who is at the door: the bearer of each token, as ``tokens.json`` of the store has it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import CannotHereError
from pipeline.hub.local.access import ANONYMOUS, OWNER, Caller
from pipeline.hub.local.publishers import PREFIX, Publishers, caller_of
from pipeline.hub.local.refusals import unknown_token

CHALLENGE = 'Basic realm="Hub", charset="UTF-8"'  # any name will do; the password is a token

_DIGEST = "sha256:"
_TOKENS = TypeAdapter(dict[str, Caller])
_OTHERS = 0o077  # permissions of a file for anybody but its owner


class Door:
    """Knows every token's caller; without tokens at all, everyone is the local owner.

    Tokens are known by their SHA-256 alone. Looking one up compares digests, whose bytes nobody can choose, so the time
    it takes tells nothing of a token.
    """

    def __init__(self, callers: Mapping[str, Caller] | None, publishers: Publishers | None) -> None:
        self._callers = callers
        self.publishers = publishers

    @classmethod
    def of(cls, root: Path, tokens: Mapping[str, Any] | None, store_key: bytes) -> Door:
        """Take the tokens given, else those of ``tokens.json`` in the store, else none; and the trusted publishers.

        Raises:
            CannotHereError: A file is not what the Hub reads, or others than its owner may read the tokens.
        """
        where = "the tokens given"
        if tokens is None and (path := root / "tokens.json").exists():
            tokens, where = _content(path), str(path)
        callers = None if tokens is None else {_digest_of(token): who for token, who in _read(tokens, where)}
        return cls(callers, Publishers.of(root, store_key))

    def caller(self, authorization: str | None, *, by_password: bool = False) -> Caller:
        """Return who an ``Authorization`` header stands for.

        Args:
            authorization: The header: ``TokenInfo`` with a token.
            by_password: Take the token also as the password of ``Basic``, which is what browsers can send.

        Raises:
            RefusedError: 401 for a token nobody was given, or one that has expired.
        """
        token = _token_in(authorization or "", by_password=by_password)
        if self.publishers and token.startswith(PREFIX):
            return self._publisher(self.publishers, token)
        if self._callers is None:
            return OWNER
        if not authorization:
            return ANONYMOUS
        caller = self._callers.get(_sha256(token)) if token else None
        if caller is None or (caller.expires is not None and caller.expires <= datetime.now(UTC)):
            refusal = unknown_token()
            if (authorization or "").lower().startswith("basic"):
                refusal.headers["WWW-Authenticate"] = CHALLENGE
            raise refusal
        return caller

    def _publisher(self, publishers: Publishers, token: str) -> Caller:
        grant = publishers.granted(token)
        if grant is None:
            raise unknown_token()
        return caller_of(grant, (self._callers or {}).values())


def _content(path: Path) -> Any:
    if path.stat().st_mode & _OTHERS:
        remedy = f"Run chmod 600 {path}, and replace the tokens if others have accounts here."
        raise CannotHereError("Others than its owner may read this file.", where=str(path), remedy=remedy)
    try:
        return json.loads(path.read_bytes())
    except ValueError:  # the cause would show the tokens
        raise CannotHereError("This file is not JSON.", where=str(path), remedy="Correct it.") from None


def _read(tokens: Mapping[str, Any], where: str) -> list[tuple[str, Caller]]:
    """Read who the tokens belong to; what is wrong is told by the bearer's number, never by the token."""
    try:
        return list(_TOKENS.validate_python(dict(tokens)).items())
    except (ValidationError, TypeError, ValueError) as error:
        raise CannotHereError(
            f"These are not the tokens of a Hub: {_first_problem(error, tokens)}.",
            where=where,
            remedy='Each token needs an object such as {"name": "alice", "role": "write"}.',
        ) from None  # the cause would show the tokens


def _first_problem(error: Exception, tokens: Mapping[str, Any]) -> str:
    if not isinstance(error, ValidationError):
        return "they are no JSON object"
    problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
    number = list(tokens).index(str(problem["loc"][0])) + 1 if problem["loc"] else 0
    place = ".".join(str(part) for part in problem["loc"][1:])
    return f"number {number}, {place or 'as a whole'}: {problem['msg']}"


def _digest_of(token: str) -> str:
    return token.removeprefix(_DIGEST).lower() if token.startswith(_DIGEST) else _sha256(token)


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _token_in(authorization: str, *, by_password: bool) -> str:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() != "basic" or not by_password:
        return ""
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
