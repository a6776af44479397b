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
from pipeline.hub.local.refusals import unknown_token

_DIGEST = "sha256:"
_TOKENS = TypeAdapter(dict[str, Caller])
_OTHERS = 0o077  # permissions of a file for anybody but its owner


class Door:
    """Knows every token's caller; without tokens at all, everyone is the local owner.

    Tokens are known by their SHA-256 alone. Looking one up compares digests, whose bytes nobody can choose, so the time
    it takes tells nothing of a token.
    """

    def __init__(self, tokens: Mapping[str, Any] | None, where: str = "the tokens given") -> None:
        self._callers = None if tokens is None else {_digest_of(token): who for token, who in _read(tokens, where)}

    @classmethod
    def of(cls, root: Path, tokens: Mapping[str, Any] | None) -> Door:
        """Take the tokens given, else those of ``tokens.json`` in the store, else none.

        Raises:
            CannotHereError: The file is not what the Hub reads, or others than its owner may read it.
        """
        path = root / "tokens.json"
        if tokens is not None or not path.exists():
            return cls(tokens)
        if path.stat().st_mode & _OTHERS:
            remedy = f"Run chmod 600 {path}, and replace the tokens if others have accounts here."
            raise CannotHereError("Others than its owner may read this file.", where=str(path), remedy=remedy)
        try:
            return cls(json.loads(path.read_bytes()), str(path))
        except ValueError as error:
            raise CannotHereError("This file is not JSON.", where=str(path), remedy="Correct it.") from error

    def caller(self, authorization: str | None, *, by_password: bool = False) -> Caller:
        """Return who an ``Authorization`` header stands for.

        Args:
            authorization: The header: ``Bearer`` with a token.
            by_password: Take the token also as the password of ``Basic``, which is what browsers can send.

        Raises:
            RefusedError: 401 for a token nobody was given, or one that has expired.
        """
        if self._callers is None:
            return OWNER
        if not authorization:
            return ANONYMOUS
        scheme, _, credentials = authorization.partition(" ")
        token = credentials.strip() if scheme.lower() == "bearer" else ""
        if by_password and scheme.lower() == "basic":
            token = _password(credentials)
        caller = self._callers.get(_sha256(token)) if token else None
        if caller is None or (caller.expires is not None and caller.expires <= datetime.now(UTC)):
            raise unknown_token()
        return caller


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


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
