"""One tree of errors: each class owns an exit code, each error says what, where, and what to do next."""

from __future__ import annotations

from typing import ClassVar


class PublishError(Exception):
    """A failure a user can act on.

    Args:
        what: One or two sentences on what is wrong, ending in a full stop.
        where: The place: ``file:line:column``, a repository at a revision, a tensor, a path.
        remedy: What to do next, as a full sentence.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        """Return the error as the one paragraph that people read."""
        place = f"{self.where}: " if self.where else ""
        return " ".join(part for part in (f"{place}{self.what}", self.remedy) if part)


class RecipeError(PublishError):
    """The recipe or the command line is wrong."""

    exit_code = 2


class CannotHereError(PublishError):
    """This environment cannot do it: a missing extra, device, right or room on the disk."""

    exit_code = 3


class SourceError(PublishError):
    """The source is missing, refused, corrupt or unsafe."""

    exit_code = 4


class QuantizationError(PublishError):
    """Quantization failed."""

    exit_code = 5


class VerdictError(PublishError):
    """The verdict is FAIL or INCONCLUSIVE; nothing was published."""

    exit_code = 6


class GenerationError(PublishError):
    """A pipeline did not load, did not run, or did not draw what was asked: that validation has failed."""

    exit_code = 6


class CardError(PublishError):
    """The card could not be rendered truthfully."""

    exit_code = 7


class RemoteChangedError(PublishError):
    """The remote changed under us; nothing was overwritten."""

    exit_code = 8


class HubUnavailableError(PublishError):
    """The Hub failed for longer than we waited; a later run continues."""

    exit_code = 9


class VerificationError(PublishError):
    """What the Hub serves is not what was published."""

    exit_code = 10


class RequestRefusedError(PublishError):
    """The Hub refuses a request for what it is, so that asking again changes nothing; a defect of this program."""
