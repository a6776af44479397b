"""Whether to believe an ID token: its issuer's keys, its signature, its audience and its time.

OpenID Connect Core 1.0, 3.1.3.7, and Discovery 1.0, 4. Only RS256 is taken, and only issuers that somebody configured
are asked for keys.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from localhub.refusals import RefusedError

if TYPE_CHECKING:
    from jwt import PyJWKClient

_SECONDS = 10  # an issuer that takes longer is not there
_SKEW_SECONDS = 5
_DISCOVERY_BYTES = 1 << 20
_REQUIRED = ["iss", "aud", "exp", "iat"]


def oauth_error(code: str, message: str, status: int = 400) -> RefusedError:
    """Return a refusal in the words of RFC 6749, 5.2."""
    return RefusedError(status, code, message, error=code, error_description=message)


class Issuers:
    """The keys of those who vouch for jobs, asked for once in five minutes and when an unknown one is named."""

    def __init__(self) -> None:
        self._keys: dict[str, PyJWKClient] = {}
        self._lock = threading.Lock()

    def believed(self, token: str, issuers: Collection[str], audience: str) -> tuple[str, dict[str, Any]]:
        """Return the issuer of an ID token and what it says.

        Args:
            token: The JSON web token.
            issuers: Whom to believe.
            audience: For whom it has to be made.

        Raises:
            RefusedError: 400 ``invalid_grant`` for a token that is not to be believed, 503 when its issuer is away.
        """
        import jwt

        try:
            issuer = str(jwt.decode(token, options={"verify_signature": False}).get("iss"))
            if issuer not in issuers:
                raise oauth_error("invalid_grant", "No trusted publisher matches the issuer of this token.")
            key = self._keys_of(issuer).get_signing_key_from_jwt(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=audience,
                issuer=issuer,
                leeway=_SKEW_SECONDS,
                options={"require": _REQUIRED, "strict_aud": True},
            )
        except jwt.PyJWKClientConnectionError as error:
            raise oauth_error("temporarily_unavailable", "The issuer's keys cannot be read now.", 503) from error
        except (jwt.PyJWTError, ValueError) as error:
            raise oauth_error("invalid_grant", f"This token is not to be believed: {error}.") from error
        return issuer, claims

    def _keys_of(self, issuer: str) -> PyJWKClient:
        from jwt import PyJWKClient

        with self._lock:
            if issuer not in self._keys:
                self._keys[issuer] = PyJWKClient(_address_of_keys(issuer), timeout=_SECONDS)
            return self._keys[issuer]


def _address_of_keys(issuer: str) -> str:
    """Ask an issuer where its keys are; it may name a place that is no less safe than itself."""
    where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        with urllib.request.urlopen(where, timeout=_SECONDS) as answer:  # noqa: S310 - http(s) only, by its configuration
            told = json.loads(answer.read(_DISCOVERY_BYTES))
        named, keys = told["issuer"], told["jwks_uri"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise oauth_error("temporarily_unavailable", "The issuer's configuration cannot be read now.", 503) from error
    if named != issuer or urlsplit(keys).scheme not in {"https", urlsplit(issuer).scheme}:
        raise oauth_error("invalid_grant", "The issuer's configuration is another issuer's, or names unsafe keys.")
    return str(keys)
