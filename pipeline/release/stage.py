"""Release: one commit on a pull request, read back whole, used as a stranger would, then the same files on ``main``.

Nothing is remembered between runs but what was read back. Where a release stands is read from the remote before each
step, and again after every step whose answer is in doubt; a step is one call that either does all of it or nothing:

    no repository -> create it -> stage a pull request -> read it back and use it -> promote it to main -> tag it
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import not_
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict

from pipeline.errors import HubUnavailableError, PublishError, RemoteChangedError, SourceError
from pipeline.events import Event, Listener
from pipeline.files import digest_of, human_size
from pipeline.hub.client import Gate, Hub
from pipeline.hub.destination import Destination, Refs, Staged
from pipeline.hub.errors import LATER
from pipeline.hub.ownership import Holdings, newest_of, version_at
from pipeline.hub.release_files import ReleaseFolder
from pipeline.hub.retry import Retry, is_refusal
from pipeline.release.other_work import TAKE_NOTHING, OthersWorkError, Terms, require
from pipeline.release.readback import VerifiedFiles, read_back
from pipeline.release.smoke_test import Trial
from pipeline.source.layout import Folder

LOOKS: Final = 5
REFUSALS: Final = 3  # in a row, after which the Hub is believed to mean it
Seen = TypeVar("Seen")


class Release(BaseModel):
    """What was published: the commit on ``main`` and its tag."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    commit: str
    tag: str


@dataclass(frozen=True)
class Publication:
    """What is to be published, and where.

    Attributes:
        subject: How it is called in titles and progress: a target's name.
        digest: The digest of its plan's identity.
        repository: Where it goes.
        folder: Everything that is uploaded.
        private: Whether the repository is made for its owners alone.
        gated: How the source asks for access; the result asks the same way.
        terms: What it may do to somebody's work.
    """

    subject: str
    digest: str
    repository: str
    folder: Path
    private: bool = False
    gated: Gate | None = None
    terms: Terms = TAKE_NOTHING

    @property
    def title(self) -> str:
        """The title of its pull request and of its commit; the same for every run of one plan, by whatever versions."""
        return f"Publish {self.subject} ({self.digest[:12]})"


class OvertakenError(OthersWorkError):
    """Somebody else published meanwhile."""


def release(publication: Publication, hub: Hub, aside: Path, trial: Trial, listen: Listener) -> Release:
    """Publish a folder, or finish what an interrupted run began.

    Args:
        publication: What, and where to.
        hub: The Hub.
        aside: A folder for notes on what was read back.
        trial: Uses the release once, before anybody else can.
        listen: Hears what is done.

    Raises:
        RemoteChangedError: Somebody else changed ``main`` meanwhile, or their work stands where the release would go.
        VerificationError: The Hub does not serve what was uploaded, it does not load, or the folder's weights are not
            as their format wants them.
        HubUnavailableError: The Hub does not answer; a later run continues.
        CannotHereError: The token may not write there.
    """
    require_sound(publication.folder)
    hub.require_writer(publication.repository)
    underway = ReleaseRun(
        publication,
        Destination(hub, publication.repository),
        ReleaseFolder.of(publication.folder),
        proofs_of(hub, publication.repository, publication.digest, aside),
        trial,
        listen,
    )
    return underway.finish()


def require_sound(folder: Path) -> None:
    """Refuse to publish weights whose headers are not as their format wants them; graphs have none.

    Raises:
        VerificationError: There are such.
    """
    from pipeline.lint import lint  # whose numpy a plan does without

    with suppress(SourceError):  # no weights that are looked into
        if fault := lint(Folder(folder), values=False).first:
            raise fault


def proofs_of(hub: Hub, repository: str, digest: str, aside: Path) -> VerifiedFiles:
    """Return the notes on what was read back of a plan's release."""
    return VerifiedFiles(aside / f"proven-{digest_of([hub.name, repository, digest])[:16]}")


@dataclass
class ReleaseRun:
    """A release on its way.

    Attributes:
        held: What ``main`` held when it began.
        staged: The pull request that it opened or found.
        tag: The tag that it made or is about to make.
        proven: The commits that were read back and used; they do not change.
    """

    publication: Publication
    place: Destination
    build: ReleaseFolder
    proofs: VerifiedFiles
    trial: Trial
    listen: Listener
    held: Holdings | None = None
    staged: Staged | None = None
    tag: str | None = None
    proven: set[str] = field(default_factory=set)
    done: Release | None = field(default=None, init=False)

    def finish(self) -> Release:
        """Take step after step until it is done.

        A step whose answer is in doubt is not repeated: the remote is looked at again, and it tells what is next.
        """
        tries, before, refused = Retry(self.place.hub.patience, self.place.repo), "", 0
        while self.done is None:
            try:
                did = self.step()
                if did == before:
                    raise without_effect(did, self.place.repo)
                before, refused = did, 0
                tries.progressed()
            except OthersWorkError:
                self.withdraw()
                raise
            except (HubUnavailableError, RemoteChangedError, SourceError) as error:
                refused = refused + 1 if is_refusal(error) else 0
                if refused == REFUSALS and isinstance(error, HubUnavailableError):
                    raise
                if refused == REFUSALS:
                    raise contradiction(error) from error
                pause = tries.pause(error)
                again = f"{error.what} Looking again in {pause:.1f} s."
                self.listen(Event("note", "release", self.publication.subject, again))
                time.sleep(pause)
        self.proofs.forget()
        return self.done

    def step(self) -> str:
        """Look at the remote, do the one thing that comes next, and return what that was.

        Raises:
            OthersWorkError: Somebody else published meanwhile, or their work stands where this would go.
            HubUnavailableError: Whether it was done is in doubt.
        """
        refs = self.place.refs()
        if refs is None:
            self.place.create(private=self.publication.private)
            return "created the repository"
        if self.held is None:
            if self.publication.private:
                self.place.require_private()
            if self.publication.gated is not None:
                self.place.gate(self.publication.gated)
            self.held = self.place.holdings(refs)
            self.build = replace(self.build, gone=self.held.gone(self.build.files.keys()))
        if commit := self.published(refs):
            return self.conclude(refs, commit)
        if refs.head != self.held.head:
            raise self.overtaken(self.held.head, refs.head)
        require(self.place.hub, self.place.repo, self.held, self.build.files.keys(), self.publication.terms)
        if self.staged is None and not self.find_staged(refs):
            return self.stage(self.held.head)
        return self.promote(self.held.head)

    def published(self, refs: Refs) -> str | None:
        """Return the newest release on ``main`` if it is this build; somebody may have changed ``main`` since."""

        def look() -> tuple[str | None, list[str]]:
            commit = self.place.last_release(refs)
            return commit, self.build.differences(self.place.tree(commit)) if commit else sorted(self.build.files)

        commit, differences = self.confirmed(look, lambda seen: not seen[1])
        return None if differences else commit

    def serves(self, commit: str) -> bool:
        """Return whether a commit is this build."""
        return not self.confirmed(lambda: self.build.differences(self.place.tree(commit)))

    def confirmed(self, look: Callable[[], Seen], done: Callable[[Seen], bool] = not_) -> Seen:
        """Return what was seen; something that would have work done again is believed when it is seen twice."""
        seen = look()
        for _ in range(LOOKS):
            if done(seen) or seen == (again := look()):
                return seen
            seen = again
        raise HubUnavailableError("The Hub shows something else each time.", where=self.place.repo, remedy=LATER)

    def find_staged(self, refs: Refs) -> bool:
        """Find the pull request with exactly this build on the present ``main``; close those that are not it."""
        for number in self.place.open_pulls(self.publication.title):
            commit = refs.pulls.get(number)
            if commit and self.staged is None and self.place.parent_of(commit) == refs.head and self.serves(commit):
                self.staged = Staged(number, commit)
            elif commit:
                self.place.close(number, "Superseded: it is not the present build on the present main.")
        return self.staged is not None

    def stage(self, head: str) -> str:
        """Upload everything to a pull request that follows ``head``."""
        target, repo = self.publication.subject, self.place.repo
        self.listen(Event("note", "release", target, f"uploading to a pull request of {repo}"))
        total = sum(file.size for file in self.build.files.values())
        large = wire = 0

        def heard(read: int, sent: int) -> None:
            nonlocal large, wire
            large, wire = read, sent
            self.listen(Event("progress", "upload", target, "large files", read, total, "B"))

        self.staged = self.place.stage(self.build, head, self.publication.title, heard)
        told = f"uploaded {human_size(wire)} for {human_size(large)} of large files; the Hub had the rest"
        self.listen(Event("note", "release", target, told, data={"bytes": large, "sent": wire}))
        return f"opened pull request {self.staged.number}"

    def prove(self, commit: str) -> None:
        """Read a commit back and use it, as far as that was not done before.

        Raises:
            VerificationError: It is not what was built, or does not load.
        """
        if commit in self.proven:
            return
        target, where = self.publication.subject, f"{self.place.repo}@{commit[:12]}"
        read_back(self.place, commit, self.build, self.proofs, self.listen, target)
        self.listen(Event("note", "release", target, f"every byte of {where} is the one that was built"))
        if (used := f"{self.build.digest} used") not in self.proofs:
            self.listen(Event("note", "release", target, self.trial(commit, self.publication.folder)))
            self.proofs.add(used)
        self.proven.add(commit)

    def promote(self, head: str) -> str:
        """Make what is staged, once it is proven, the commit after ``head``."""
        assert self.staged is not None  # noqa: S101  a step before this one
        self.prove(self.staged.commit)
        title = f"{self.publication.title} (#{self.staged.number})"
        self.place.promote(self.build, head, title, self.staged.commit)
        told = f"promoted pull request {self.staged.number} of {self.place.repo}"
        self.listen(Event("note", "release", self.publication.subject, told))
        return told

    def conclude(self, refs: Refs, commit: str) -> str:
        """Close what was staged for the commit of ``main`` that is this build, and tag it.

        The tag comes last, for where it is nobody asks again whether it is proven, or looks for its files.
        """
        there = version_at(refs.tags, commit)
        if there is None:
            self.prove(commit)
        staged = {self.staged.number} if self.staged is not None else set()
        for number in sorted(staged | set(self.place.open_pulls(self.publication.title))):
            self.place.close(number, f"Published as {commit}.")
        self.staged = None
        if there is None:
            if self.tag is None or refs.tags.get(self.tag, commit) != commit:
                self.tag = next_tag(refs)  # the one that was tried belongs to somebody else by now
            self.place.tag(self.tag, commit)
            return f"set the tag {self.tag}"
        self.done = Release(repository=self.place.repo, commit=commit, tag=there)
        return "done"

    def overtaken(self, begun: str, head: str) -> OvertakenError:
        """Return the error for a ``main`` that somebody else changed."""
        return OvertakenError(
            f"main was {begun[:12]} when this release began and is {head[:12]} now: {self.place.described(head)}.",
            where=self.place.repo,
            remedy="Look at what was published there, then run again; nothing was overwritten.",
        )

    def withdraw(self) -> None:
        """Close the pull request of a release that was overtaken; a later run would close it too."""
        if self.staged is not None:
            with suppress(PublishError):
                self.place.close(self.staged.number, "Another release came first.")


def next_tag(refs: Refs) -> str:
    """Return the next of v1, v2, ..."""
    return f"v{int((newest_of(refs.tags) or 'v0')[1:]) + 1}"


def without_effect(did: str, repo: str) -> HubUnavailableError:
    """Return the error for a Hub that answered that something is done and shows nothing of it."""
    return HubUnavailableError(f"The Hub answered well and shows nothing of it ({did}).", where=repo, remedy=LATER)


def contradiction(error: PublishError) -> HubUnavailableError:
    """Return the error for a Hub that denies what it has shown, which is no fault of a source."""
    return HubUnavailableError(f"The Hub contradicts itself: {error.what}", where=error.where, remedy=LATER)
