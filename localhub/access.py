"""Who may do what: roles, fine-grained scopes, namespaces, private and gated repositories.

The words are those that the Hub's ``whoami`` uses of a token, so what ``tokens.json`` grants and what a client is told
are the same text. A kind is ``models`` or ``datasets``.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from localhub.refusals import forbidden, unauthenticated

Permission = Literal["repo.content.read", "repo.write"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Entity(_Record):
    """What a scope is about: one repository, or everything of a user or an organization."""

    type: Literal["user", "org", "model", "dataset"]
    name: str

    def covers(self, kind: str, repo_id: str) -> bool:
        """Say whether a repository belongs to it; that of no name stands for all of a namespace."""
        if self.type in {"user", "org"}:
            return self.name == _namespace(repo_id)
        return (self.type, self.name) == (kind[:-1], repo_id)


class Scope(_Record):
    """What a token may do with one entity."""

    entity: Entity
    permissions: tuple[Permission, ...]


class FineGrained(_Record):
    """All that a fine-grained token may do besides reading what is public: with an entity, and everywhere."""

    scoped: tuple[Scope, ...] = ()
    everywhere: tuple[Literal["discussion.write"], ...] = Field(default=(), alias="global")


class User(_Record):
    """Who sends a request, as ``tokens.json`` describes the bearer of a token.

    ``access`` lists the gated repositories outside of the caller's namespaces whose files it may read. After
    ``expires`` the token is nobody's.
    """

    name: str
    role: Literal["read", "write", "fineGrained"]
    orgs: tuple[str, ...] = ()
    access: tuple[str, ...] = ()
    expires: AwareDatetime | None = None
    fine_grained: FineGrained | None = Field(default=None, alias="fineGrained")

    @model_validator(mode="after")
    def _has_scopes_if_fine_grained(self) -> Self:
        if (self.role == "fineGrained") != (self.fine_grained is not None):
            raise ValueError("the role 'fineGrained' and the field 'fineGrained' need each other")
        return self

    def may(self, permission: Permission, kind: str, repo_id: str) -> bool:
        """Say whether something is allowed in a repository, which need not be there."""
        if self.fine_grained is None:
            mine = self is OWNER or _namespace(repo_id) in {self.name, *self.orgs}
            return mine and (self.role == "write" or permission == "repo.content.read")
        return any(
            permission in scope.permissions and scope.entity.covers(kind, repo_id) for scope in self.fine_grained.scoped
        )

    def may_read(self, kind: str, repo_id: str) -> bool:
        """Say whether a private repository exists for the caller; whoever may write may also read."""
        return self.may("repo.content.read", kind, repo_id) or self.may_write(kind, repo_id)

    def may_write(self, kind: str, repo_id: str) -> bool:
        """Say whether the caller may change a repository that exists."""
        return self.may("repo.write", kind, repo_id)

    def may_own(self, namespace: str) -> bool:
        """Say whether the caller may add repositories to a namespace and take them away."""
        return self.may("repo.write", "", f"{namespace}/")

    def may_discuss(self, kind: str, repo_id: str) -> bool:
        """Say whether the caller may open pull requests of a repository that it sees."""
        if self.fine_grained is None:
            return self.role == "write"
        return "discussion.write" in self.fine_grained.everywhere or self.may_write(kind, repo_id)

    def may_read_gated(self, kind: str, repo_id: str) -> bool:
        """Say whether the caller may download files of a gated repository."""
        return self.may_read(kind, repo_id) or (self.fine_grained is None and repo_id in self.access)


OWNER = User(name="local", role="write")  # the one caller of a Hub without tokens: everything is theirs
ANONYMOUS = User(name="", role="read")  # without a token on a Hub that has tokens: reads what is public


def require_login(caller: User) -> None:
    """Refuse a caller without a token."""
    if caller is ANONYMOUS:
        raise unauthenticated()


def require(caller: User, allowed: bool, what: str) -> None:
    """Refuse a caller who may not do something, and one without a token by asking for it.

    Args:
        caller: Who asks.
        allowed: Whether they may.
        what: What it is, as the end of "You don't have the rights to".
    """
    require_login(caller)
    if not allowed:
        raise forbidden(f"You don't have the rights to {what}")


def described(caller: User) -> dict[str, Any]:
    """Return what ``whoami`` tells of a caller's token; an admin's namespaces are not listed."""
    told: dict[str, Any] = {"displayName": caller.name, "role": "admin" if caller is OWNER else caller.role}
    if caller.fine_grained is not None:
        told["fineGrained"] = caller.fine_grained.model_dump(mode="json", by_alias=True)
    if caller.expires is not None:
        told["expiresAt"] = caller.expires.isoformat()
    return {"type": "access_token", "accessToken": told}


def _namespace(repo_id: str) -> str:
    return repo_id.split("/", maxsplit=1)[0]
