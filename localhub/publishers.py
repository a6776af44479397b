"""Trusted publishers: which CI jobs a repository trusts, by ``publishers.json`` of the store, and their short tokens.

The tokens are kept by the running Hub alone, so one that is started again knows none of them.
"""

from __future__ import annotations

import json
import secrets
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from localhub.access import User
from localhub.errors import LocalHubError
from localhub.refusals import RefusedError

if TYPE_CHECKING:
    from jwt import PyJWKClient

_SECONDS = 10  # an issuer that takes longer is not there


class Publisher(BaseModel):
    """A job that is trusted: who vouches for it, and claims that its ID token has to make, every word exactly.

    Where a user trusts it and not a repository, ``access`` lists the gated repositories that this user was let into.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str
    claims: dict[str, str] = Field(min_length=1)
    access: tuple[str, ...] = ()


_TRUSTED = TypeAdapter(dict[str, list[Publisher]])


class Publishers:
    """All trusted jobs of a Hub, by what each writes to or as whom it reads, and the tokens that they got."""

    def __init__(self, trusted: Mapping[str, list[Publisher]]) -> None:
        self._trusted = trusted
        self._keys: dict[str, PyJWKClient] = {}
        self._callers: dict[str, User] = {}

    @classmethod
    def of(cls, root: Path) -> Publishers:
        """Read ``publishers.json`` of the store; without one nobody is trusted.

        Raises:
            LocalHubError: The file is not what the Hub reads, or this environment cannot verify signatures.
        """
        path = root / "publishers.json"
        if not path.exists():
            return cls({})
        try:
            import cryptography  # noqa: F401 - PyJWT needs it for RS256
            import jwt  # noqa: F401

            return cls(_TRUSTED.validate_json(path.read_bytes()))
        except ImportError as error:
            remedy = "Install the extra: pip install 'quantpress[signing]'."
            raise LocalHubError(f"Trusted publishers need {error.name}.", where=str(path), remedy=remedy) from error
        except ValueError as error:
            remedy = 'A repository needs a list: [{"issuer": "https://...", "claims": {"repository": "a/b"}}].'
            raise LocalHubError("These are no trusted publishers.", where=str(path), remedy=remedy) from error

    def token(self, resource: str, id_token: str, audience: str, seconds: int) -> str:
        """Return a token for the job that an ID token proves.

        Args:
            resource: The repository that it is to write to, as ``ns/name`` or ``datasets/ns/name``, or the user as
                whom it is to read what is gated.
            id_token: What the job's issuer signed.
            audience: For whom that has to be made.
            seconds: How long the token is valid.

        Raises:
            RefusedError: 400 where the repository trusts no such job, or the ID token is not to be believed.
        """
        import jwt

        trusted = self._trusted.get(resource, [])
        try:
            issuer = str(jwt.decode(id_token, options={"verify_signature": False}).get("iss"))
            if issuer not in {publisher.issuer for publisher in trusted}:
                raise denied(f"No trusted publisher of {resource!r} has the issuer {issuer!r}.")
            key = self._keys_of(issuer).get_signing_key_from_jwt(id_token)
            claims = jwt.decode(
                id_token,
                key,
                ["RS256"],
                {"require": ["iss", "aud", "exp", "iat"], "strict_aud": True},
                audience=audience,
                issuer=issuer,
                leeway=5,
            )
        except (jwt.PyJWTError, OSError, ValueError, KeyError) as error:
            raise denied(f"This token is not to be believed: {error}.") from error
        named = (one for one in trusted if issuer == one.issuer and one.claims.items() <= claims.items())
        publisher = next(named, None)
        if publisher is None:
            raise denied(f"No trusted publisher of {resource!r} matches the job {claims.get('sub')!r}.")
        token, expires = f"hf_jwt_{secrets.token_urlsafe(32)}", datetime.now(UTC) + timedelta(seconds=seconds)
        reader = User(name=resource, role="read", access=publisher.access, expires=expires)
        self._callers[token] = _writer(resource, expires) if "/" in resource else reader
        return token

    def caller(self, token: str) -> User | None:
        """Return the bearer of a token that was given here."""
        return self._callers.get(token)

    def _keys_of(self, issuer: str) -> PyJWKClient:
        """Return the keys of an issuer, which names their place (OpenID Connect Discovery 1.0, 4)."""
        from jwt import PyJWKClient

        if issuer not in self._keys:
            where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
            with urllib.request.urlopen(where, timeout=_SECONDS) as answer:  # noqa: S310 - by the Hub's own configuration
                self._keys[issuer] = PyJWKClient(json.load(answer)["jwks_uri"], timeout=_SECONDS)
        return self._keys[issuer]


def _writer(resource: str, expires: datetime) -> User:
    """Return who writes to one repository and does nothing else."""
    kind, repo_id = ("dataset", resource[9:]) if resource.startswith("datasets/") else ("model", resource)
    scope = {"entity": {"type": kind, "name": repo_id}, "permissions": ["repo.content.read", "repo.write"]}
    told = {"name": repo_id.split("/")[0], "role": "fineGrained", "fineGrained": {"scoped": [scope]}}
    return User.model_validate({**told, "expires": expires})


def denied(message: str) -> RefusedError:
    """Return a refusal in the words of RFC 6749, 5.2."""
    return RefusedError(400, "invalid_grant", message, error="invalid_grant", error_description=message)
