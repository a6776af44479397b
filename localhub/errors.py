"""What keeps the embedded Hub from serving, in words for whoever starts it."""

from __future__ import annotations


class LocalHubError(Exception):
    """The Hub cannot be served as it was asked to be.

    Args:
        what: What is wrong.
        where: The file, or the rule of a fault.
        remedy: What to do next.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        """Return the error as one paragraph."""
        place = f"{self.where}: " if self.where else ""
        return " ".join(part for part in (f"{place}{self.what}", self.remedy) if part)


class FaultSyntaxError(LocalHubError):
    """A line is no rule of a fault."""
