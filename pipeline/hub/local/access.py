"""Who may do what: bearer tokens, roles, namespaces, private and gated repositories."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from pipeline.hub.local.refusals import forbidden, unauthenticated, unknown_token


class Caller(BaseModel):
    """Who sends a request, as ``tokens.json`` describes the bearer of a token.

    ``access`` lists the gated repositories outside of the caller's namespaces whose files it may read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    role: Literal["read", "write"]
    orgs: tuple[str, ...] = ()
    access: tuple[str, ...] = ()

    @property
    def shown_role(self) -> str:
        """The role that ``whoami`` tells: clients read from it whether a namespace that is not theirs is open."""
        return self.role

    def belongs_to(self, namespace: str) -> bool:
        """Say whether a namespace is the caller's own or one of its organizations'."""
        return namespace == self.name or namespace in self.orgs

    def may_write(self, namespace: str) -> bool:
        """Say whether the caller may change repositories of a namespace."""
        return self.role == "write" and self.belongs_to(namespace)

    def may_read_gated(self, repo_id: str) -> bool:
        """Say whether the caller may download files of a gated repository."""
        return self.belongs_to(repo_id.split("/", maxsplit=1)[0]) or repo_id in self.access


class Owner(Caller):
    """The one caller of a Hub without tokens: everything is theirs."""

    @property
    def shown_role(self) -> str:
        """The role that ``whoami`` tells."""
        return "admin"

    def belongs_to(self, namespace: str) -> bool:  # noqa: ARG002 - any namespace
        """Own every namespace."""
        return True


class Anonymous(Caller):
    """A request without a token on a Hub that has tokens: it reads what is public."""

    def belongs_to(self, namespace: str) -> bool:  # noqa: ARG002 - any namespace
        """Own nothing."""
        return False


_OWNER = Owner(name="local", role="write")
_ANONYMOUS = Anonymous(name="anonymous", role="read")
_TOKENS = TypeAdapter(dict[str, Caller])


class Door:
    """Knows every token's caller; without tokens at all, everyone is the local owner."""

    def __init__(self, tokens: Mapping[str, Any] | None) -> None:
        self._callers = None if tokens is None else _TOKENS.validate_python(dict(tokens))

    @classmethod
    def of(cls, root: Path, tokens: Mapping[str, Any] | None) -> Door:
        """Take the tokens given, else those of ``tokens.json`` in the store, else none."""
        path = root / "tokens.json"
        if tokens is None and path.exists():
            tokens = json.loads(path.read_bytes())
        return cls(tokens)

    def caller(self, authorization: str | None) -> Caller:
        """Return who an ``Authorization`` header stands for.

        Raises:
            RefusedError: 401 for a token nobody was given.
        """
        if self._callers is None:
            return _OWNER
        if not authorization:
            return _ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        caller = self._callers.get(token.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            raise unknown_token()
        return caller


def require_login(caller: Caller) -> None:
    """Refuse a caller without a token."""
    if isinstance(caller, Anonymous):
        raise unauthenticated()


def require_write(caller: Caller, namespace: str) -> None:
    """Refuse a caller who may not change a namespace's repositories."""
    require_login(caller)
    if not caller.may_write(namespace):
        raise forbidden(f"You don't have the rights to write to the namespace {namespace!r}")
