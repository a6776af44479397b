"""Which CI jobs a repository trusts, as ``publishers.json`` of the store has it, and the short tokens that they get."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from localhub.access import User
from localhub.errors import LocalHubError
from localhub.oidc import Issuers

PREFIX = "hf_jwt_"
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_SHARED_CLAIMS = {"branch", "workflow", "ref", "ref_type", "event_name", "environment", "aud"}  # anybody's job has them
_WORKFLOWS = "/.github/workflows/"


class Publisher(BaseModel):
    """A job that is trusted: who vouches for it, and what has to be said of it, every word exactly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str
    claims: dict[str, str]

    @field_validator("issuer")
    @classmethod
    def _is_safe_to_ask(cls, issuer: str) -> str:
        parts = urlsplit(issuer)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ValueError("an issuer is an https address")
        return issuer

    @field_validator("claims")
    @classmethod
    def _names_somebody(cls, claims: dict[str, str]) -> dict[str, str]:
        if not claims.keys() - _SHARED_CLAIMS:
            raise ValueError("these claims are true of other people's jobs too; add 'repository' or 'sub'")
        return claims

    def trusts(self, issuer: str, claims: Mapping[str, Any]) -> bool:
        """Say whether a job is this one."""
        return issuer == self.issuer and all(_said(claims, name) == value for name, value in self.claims.items())


_Resource = Annotated[str, Field(pattern=r"^((models|datasets)/)?[^/]+/[^/]+$")]
_TRUSTED = TypeAdapter(dict[_Resource, list[Publisher]])


class Publishers:
    """All trusted jobs of a Hub; it also writes and reads the tokens that they get."""

    def __init__(self, trusted: Mapping[str, list[Publisher]], store_key: bytes) -> None:
        self._trusted = trusted
        self._issuers = Issuers()
        self._key = hmac.new(store_key, PREFIX.encode(), hashlib.sha256).digest()

    @classmethod
    def of(cls, root: Path, store_key: bytes) -> Publishers | None:
        """Read ``publishers.json`` in the store; without one nobody is trusted.

        Raises:
            LocalHubError: The file is not what the Hub reads, or this environment cannot verify signatures.
        """
        path = root / "publishers.json"
        if not path.exists():
            return None
        _require_libraries(path)
        try:
            trusted = _TRUSTED.validate_python(json.loads(path.read_bytes()))
        except ValueError as error:
            raise LocalHubError(
                f"These are not the trusted publishers of a Hub: {_first_problem(error)}.",
                where=str(path),
                remedy='A repository needs a list: [{"issuer": "https://...", "claims": {"repository": "a/b"}}].',
            ) from error
        return cls(trusted, store_key)

    def believed(self, id_token: str, audience: str) -> tuple[str, dict[str, Any]]:
        """Return who vouches for a job and what they say of it.

        Raises:
            RefusedError: The token is not to be believed, or its issuer is away.
        """
        vouching = {publisher.issuer for trusted in self._trusted.values() for publisher in trusted}
        return self._issuers.believed(id_token, vouching, audience)

    def trust(self, resource: str, issuer: str, claims: Mapping[str, Any]) -> bool:
        """Say whether a job of which an issuer says this may have a token for a resource."""
        return any(publisher.trusts(issuer, claims) for publisher in self._trusted.get(resource, ()))

    def token(self, resource: str, seconds: int) -> str:
        """Return a token for a resource that lives this long; it is in no file, its signature is what counts."""
        import jwt

        expires = datetime.now(UTC) + timedelta(seconds=seconds)
        payload = {"resource": resource, "exp": expires.timestamp(), "jti": secrets.token_hex(8)}
        return PREFIX + jwt.encode(payload, self._key, "HS256")

    def caller(self, token: str) -> User | None:
        """Return the bearer of a short token, who writes to one repository.

        Nobody is it when it is not ours, has expired, or nobody is trusted there any more.
        """
        import jwt

        try:
            payload = jwt.decode(token.removeprefix(PREFIX), self._key, ["HS256"], {"require": ["exp"]})
        except jwt.PyJWTError:
            return None
        resource = str(payload.get("resource"))
        if resource not in self._trusted:
            return None
        kind, repo_id = repository_named(resource)
        scope = {"entity": {"type": kind[:-1], "name": repo_id}, "permissions": ["repo.content.read", "repo.write"]}
        described = {"name": repo_id.split("/")[0], "role": "fineGrained", "fineGrained": {"scoped": [scope]}}
        return User.model_validate({**described, "expires": datetime.fromtimestamp(payload["exp"], UTC)})


def repository_named(resource: str) -> tuple[str, str]:
    """Return kind and id of the repository that a resource is."""
    kind = "datasets" if resource.startswith("datasets/") else "models"
    return kind, resource.removeprefix(f"{kind}/")


def _said(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by the two words of the Hub's settings for what GitHub spells otherwise.

    GitHub's own ``workflow`` is a title that anybody may give to any file, so the file's name is read instead.
    """
    ref = str(claims.get("ref"))
    if name == "branch" and "ref" in claims:
        return ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else None
    if name == "workflow" and "workflow_ref" in claims:
        before, after = f"{claims.get('repository')}{_WORKFLOWS}", f"@{ref}"
        whole = str(claims["workflow_ref"])
        return whole.removeprefix(before).removesuffix(after) if whole.endswith(after) else None
    return claims.get(name)


def _require_libraries(path: Path) -> None:
    try:
        import cryptography  # noqa: F401 - PyJWT needs it for RS256
        import jwt  # noqa: F401
    except ImportError as error:
        raise LocalHubError(
            f"Trusted publishers need {error.name}, which is not installed.",
            where=str(path),
            remedy="Install the extra: pip install 'quantpress[signing]'.",
        ) from error


def _first_problem(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return "this is not JSON"
    problem = error.errors()[0]
    return f"{'.'.join(str(part) for part in problem['loc']) or 'as a whole'}: {problem['msg']}"
