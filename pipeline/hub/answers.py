"""Answers of the Hub, read strictly: the client takes whatever stands there, and what we ask ourselves comes as JSON.

Fields that nobody here reads are left out, so that the Hub may say more than it does today.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.hub.errors import UnreadableAnswerError

WRITE: Final = "repo.write"
CommitId = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Text = Annotated[str, Field(min_length=1)]
Size = Annotated[int, Field(ge=0)]


class Answer(BaseModel):
    """What the Hub said of something."""

    model_config = ConfigDict(frozen=True, strict=True, from_attributes=True)

    @classmethod
    def of(cls, said: object) -> Self:
        """Read an answer: JSON, or an object that the client made of it.

        Raises:
            UnreadableAnswerError: It is not what the Hub's interface says.
        """
        try:
            return cls.model_validate(said)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "it"
            raise UnreadableAnswerError(f"{cls.__name__} {place}: {first['msg']}") from error


class ListedPointer(Answer):
    """Where a listed file is kept outside of git: its SHA-256."""

    sha256: Text


class ListedEntry(Answer):
    """One file of a listing.

    Attributes:
        path: Its name in the repository.
        size: Its bytes.
        blob_id: Git's name for it, which for a large file is that of its pointer.
        xet_hash: Xet's name for it, where it has one.
        lfs: What is told of a large file.
    """

    path: Text
    size: Size
    blob_id: str
    xet_hash: str | None = None
    lfs: ListedPointer | None = None


class Reference(Answer):
    """A branch, a tag or a pull request by its whole name, and the commit that it points to."""

    ref: Text
    target_commit: CommitId


class Talk(Answer):
    """A discussion or a pull request."""

    num: int
    title: str
    author: str


class Commit(Answer):
    """A commit of a history."""

    class Author(Answer):
        """One of those who made it."""

        user: str

    id: CommitId
    title: str
    date: Annotated[datetime, Field(strict=False)]
    authors: Annotated[tuple[Author, ...], Field(strict=False)]

    def __str__(self) -> str:
        """Return which it is, what they called it, who made it, and when."""
        return f"{self.id[:12]} ({self.described})"

    @property
    def by(self) -> str:
        """Who made it."""
        return ", ".join(author.user for author in self.authors) or "somebody"

    @property
    def described(self) -> str:
        """What they called it, who made it, and when."""
        return f"{self.title!r} by {self.by} on {self.date:%Y-%m-%d %H:%M} UTC"


class Opened(Answer):
    """A pull request that a commit opened."""

    commitOid: CommitId  # noqa: N815  as the Hub spells it
    pullRequestUrl: Annotated[str, Field(pattern=r"/[0-9]{1,18}$")]  # noqa: N815

    @property
    def number(self) -> int:
        """The number of the pull request."""
        return int(self.pullRequestUrl.rpartition("/")[2])


class Sorted(Answer):
    """Which of the files that a commit will bring are kept outside of git."""

    class File(Answer):
        """One of them."""

        path: Text
        uploadMode: str  # noqa: N815

    files: list[File]


class CardJudged(Answer):
    """What is wrong with a card."""

    class Error(Answer):
        """One thing that is."""

        message: str

    errors: list[Error] = []


class ChunkStorage(Answer):
    """Where a repository's chunks are, and a token for it that ends."""

    casUrl: Text  # noqa: N815
    accessToken: Text  # noqa: N815
    exp: int


class Scope(Answer):
    """What a fine-grained token may do with one repository, or with all of a user or an organization."""

    class Entity(Answer):
        """The repository, user or organization."""

        type: str = ""
        name: str = "?"

    entity: Entity = Entity()
    permissions: list[str] = []


class FineGrained(Answer):
    """All that a fine-grained token may do."""

    scoped: list[Scope] = []
    everywhere: list[str] = Field(default=[], alias="global")

    def told(self) -> tuple[str, ...]:
        """Return it as words for people."""
        everywhere = [f"everywhere: {', '.join(self.everywhere)}"] if self.everywhere else []
        return (*everywhere, *(f"{scope.entity.name}: {', '.join(scope.permissions)}" for scope in self.scoped))


class Organization(Answer):
    """An organization that a user belongs to; the role is ``read``, ``contributor``, ``write`` or ``admin``."""

    name: Text
    roleInOrg: str | None = None  # noqa: N815


class TokenInfo(Answer):
    """Who a token stands for, as ``whoami-v2`` says; the token itself is never part of it.

    Attributes:
        name: The user.
        orgs: The organizations.
        auth: What the token may do.
    """

    class Authentication(Answer):
        """By what the request was authenticated."""

        class Token(Answer):
            """The token's role: ``read``, ``write``, ``fineGrained`` or what else the Hub calls it."""

            role: str = "write"
            fineGrained: FineGrained | None = None  # noqa: N815

        accessToken: Token = Token()  # noqa: N815

    name: Text
    orgs: list[Organization] = []
    auth: Authentication = Authentication()

    @property
    def role(self) -> str:
        """The token's role."""
        return self.auth.accessToken.role

    @property
    def scopes(self) -> tuple[str, ...]:
        """What a fine-grained token may do where, for people: ``alice/model: repo.write``."""
        return (self.auth.accessToken.fineGrained or FineGrained()).told()

    def why_not_create_in(self, namespace: str) -> str:
        """Return why this token may not create repositories in a namespace; empty where it may."""
        token = self.auth.accessToken
        if token.role == "admin":  # an embedded Hub without tokens: everybody owns everything
            return ""
        if token.role == "read":
            return f"this token of {self.name} only reads"
        roles = {org.name: org.roleInOrg for org in self.orgs}
        if namespace != self.name and namespace not in roles:
            return f"{namespace} is neither {self.name} nor an organization of theirs"
        if roles.get(namespace) == "read":
            return f"{self.name} only reads in {namespace}"
        fine = token.fineGrained
        if fine and not any(
            scope.entity.type in {"user", "org"} and scope.entity.name == namespace and WRITE in scope.permissions
            for scope in fine.scoped
        ):
            may = "; ".join(self.scopes) or "nothing"
            return f"this fine-grained token of {self.name} may not create repositories in {namespace} (it may: {may})"
        return ""
