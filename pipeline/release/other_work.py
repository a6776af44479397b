"""Others: whether a release can go beside somebody's work; asked before hours are spent, and before it is staged."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final

from pipeline.errors import RemoteChangedError, SourceError
from pipeline.files import safe_listing
from pipeline.hub.client import Hub
from pipeline.hub.ownership import MOST, Holdings, changes, commits, named
from pipeline.release.shadows import shadowing

MOVE_IT: Final = "Move or delete it in the repository, then run again; nothing was changed there."


class OthersWorkError(RemoteChangedError):
    """Somebody's work stands where a release would go; looking again would not change it."""


@dataclass(frozen=True)
class Terms:
    """What a release may do to somebody's work.

    Attributes:
        adopt: Take over a repository that holds somebody's files; those at paths that a release writes are overwritten.
        replace: Overwrite what somebody changed since the last release.
    """

    adopt: bool = False
    replace: bool = False


TAKE_NOTHING: Final = Terms()


@dataclass(frozen=True)
class Beside:
    """What becomes of somebody's files in a repository where a release goes.

    Attributes:
        kept: Those that stay as they are.
        overwritten: Those at paths that the release writes.
        refused: Why it would not be made; empty where it would.
    """

    kept: Sequence[str] = ()
    overwritten: Sequence[str] = ()
    refused: str = ""


def beside(hub: Hub, repo: str, holdings: Holdings, written: Set[str], terms: Terms) -> Beside:
    """Return what would become of somebody's files; the arguments are those of `require`."""
    try:
        require(hub, repo, holdings, written, terms)
        refused = ""
    except OthersWorkError as error:
        refused = str(error)
    return Beside(holdings.kept(written), holdings.overwritten(written), refused)


def require(hub: Hub, repo: str, holdings: Holdings, written: Set[str], terms: Terms) -> None:
    """Refuse a release that would take somebody's work away, or that somebody's files would shadow.

    Args:
        hub: The Hub.
        repo: The repository.
        holdings: What its ``main`` holds.
        written: The paths that the release writes.
        terms: What it may do all the same.

    Raises:
        OthersWorkError: It would, with the paths, and who put them there, in which commit, and when.
    """
    if holdings.release is None and holdings.others and not terms.adopt:
        raise not_ours(hub, repo, holdings, written)
    touched = {*holdings.changed, *(holdings.overwritten(written) if holdings.release else ())}
    if touched and not terms.replace:
        raise touched_by(hub, repo, holdings, touched)
    kept = holdings.kept(written)
    if shadows := shadowing(kept, written):
        what = f"{named(shadows)} would change what from_pretrained loads of this release."
        raise OthersWorkError(what, where=repo, remedy=MOVE_IT)
    try:
        safe_listing({*kept, *written}, repo)
    except SourceError as error:
        raise OthersWorkError(error.what, where=repo, remedy=MOVE_IT) from error


def not_ours(hub: Hub, repo: str, holdings: Holdings, written: Set[str]) -> OthersWorkError:
    """Return the error for a repository that holds files and none of them is ours."""
    newest = next(iter(commits(hub, repo, holdings.head)), "not told")
    lost = holdings.overwritten(written)
    return OthersWorkError(
        f"It holds {named(holdings.others)}, which no release put there; its newest commit is {newest}.",
        where=repo,
        remedy="Publish under another name, or say `adopt: true` under `destination:` of the recipe, which "
        f"overwrites {named(lost) if lost else 'none of them'} and keeps all others.",
    )


def touched_by(hub: Hub, repo: str, holdings: Holdings, touched: set[str]) -> OthersWorkError:
    """Return the error for paths of ours that somebody changed since the release, or took."""
    return OthersWorkError(
        f"A release writes what somebody changed since {holdings.tag}: {told(hub, repo, holdings, touched)}.",
        where=repo,
        remedy="Put it back there, or run with --replace, which overwrites it; nothing was overwritten yet.",
    )


def told(hub: Hub, repo: str, holdings: Holdings, touched: set[str]) -> str:
    """Return for people in which commits somebody changed paths, by whom, and when."""
    found = changes(hub, repo, holdings)
    parts = [f"{named(sorted(here))} in {commit}" for commit, paths in found.items() if (here := touched & paths)]
    if others := sorted(touched.difference(*found.values())):
        parts.append(f"{named(others)} before its newest {MOST} commits, or in a history that was squashed")
    return "; ".join(parts)
