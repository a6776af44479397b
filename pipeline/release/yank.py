"""Yank: say of a published tag that it is not to be used any more. Nothing is deleted, and no tag moves.

One commit on ``main`` changes three files. ``publish/yanked.json`` is the truth for programs: the tag, its commit, the
digest of its plan, and why. The card gets a paragraph at its top for people; where the tag is what ``main`` shows, its
metadata also gets the ``new_version`` that the Hub's pages link to. ``publish/manifest.json`` gets the digests that the
two have now, so that ``main`` still is what its manifest says; the tag keeps the manifest that was built.

Since the withdrawal names a plan and not only a tag, a run of that plan knows that it is withdrawn wherever ``main``
has gone since, and publishes nothing: another recipe or source makes another plan, and that is released as ever; so is
what ``publish run --rebuild`` makes of the same plan, if it is not the same bytes. ``shown`` says which release lies
beneath such commits, so that an unchanged target is still found unchanged although ``main`` is no longer the commit
that was tagged. When it happened is in the commit, as for every change.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.card.render import as_text
from pipeline.errors import CardError, HubUnavailableError, RecipeError, RemoteChangedError
from pipeline.files import FileEntry, Manifest, pretty_json
from pipeline.hub.client import Hub, RemoteState
from pipeline.hub.ownership import look_at, version_at
from pipeline.hub.release_files import CARD, MANIFEST, PLAN, YANKED
from pipeline.hub.withdrawn import Shown, Withdrawal, Withdrawals, read_withdrawals
from pipeline.plan.model import TargetPlan
from pipeline.recipe.problems import nearest
from pipeline.release.other_work import OthersWorkError, told

LARGEST: Final = 64 << 20  # bytes of a file that is read here
FRONT: Final = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
LONGEST_REASON: Final = 1000  # letters; a reason is a sentence or two


class Yanked(BaseModel):
    """What became of it.

    Attributes:
        state: ``yanked`` now, or ``unchanged`` because it was before.
        commit: What ``main`` is now.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["yanked", "unchanged"]
    repository: str
    tag: str
    why: str
    new_version: str | None
    commit: str


def yank(hub: Hub, repo: str, tag: str, why: str, new_version: str | None = None) -> Yanked:
    """Withdraw a tag.

    Args:
        hub: Where it is published.
        repo: The repository.
        tag: The tag, which stays.
        why: The reason; it is text, and no Markdown or HTML in it becomes active.
        new_version: The repository to use instead.

    Raises:
        RecipeError: There is no such tag, or nothing to say, or the repository is none of ours.
        RemoteChangedError: ``main`` moved meanwhile, or somebody changed its card; nothing was overwritten.
        CannotHereError: The token may not write there.
        HubUnavailableError: The Hub does not answer; run it again.
    """
    why = " ".join(why.split())
    refuse_unfit(hub, repo, why, new_version)
    state = state_of(hub, repo)
    head, tags = str(state.head), state.tags
    known = read_withdrawals(hub, repo, head)
    before = known.tags.get(tag)
    if before is None:
        if tag not in tags:
            raise no_such_tag(repo, tag, tags)
        hub.require_writer(repo)
        refuse_changed(hub, repo, state)
        shown = shown_by(hub, repo, state, known)
        found = Withdrawal(commit=tags[tag], plan=plan_at(hub, repo, tags[tag]), why=why, new_version=new_version)
        files = changed(hub, repo, head, tag, Withdrawals(tags={**known.tags, tag: found}, shown=shown))
        head = commit(hub, repo, head, tag, files)
    else:
        why, new_version = before.why, before.new_version
    done: Literal["yanked", "unchanged"] = "unchanged" if before else "yanked"
    return Yanked(state=done, repository=repo, tag=tag, why=why, new_version=new_version, commit=head)


def refuse_unfit(hub: Hub, repo: str, why: str, new_version: str | None) -> None:
    """Refuse what would say nothing, or point nowhere.

    Raises:
        RecipeError: It would.
    """
    if not why or len(why) > LONGEST_REASON or not why.isprintable():
        what = f"A reason is a sentence of at most {LONGEST_REASON} letters, none of them invisible."
        raise RecipeError(what, remedy="Say with --why what is wrong.")
    if new_version is not None and (new_version == repo or hub.find(new_version, None) is None):
        what = f"There is no other repository {new_version} to use instead."
        raise RecipeError(what, where=repo, remedy="Correct --new-version, or publish that one first.")


def state_of(hub: Hub, repo: str) -> RemoteState:
    """Return what a repository is now, which has a ``main``.

    Raises:
        RecipeError: There is no such repository.
    """
    state = hub.state(repo)
    if state.head is None:
        raise RecipeError("There is no such repository, or it is empty.", where=repo, remedy="Correct its name.")
    return state


def refuse_changed(hub: Hub, repo: str, state: RemoteState) -> None:
    """Refuse to build on a card or manifest that somebody changed, which would pass for ours from then on.

    Raises:
        OthersWorkError: Somebody did, with who it was, in which commit, and when.
    """
    held = look_at(hub, repo, str(state.head), state.tags, state.release)
    theirs = {CARD, MANIFEST} & {*held.changed, *held.others} if held.release else set()
    if theirs:
        what = f"A withdrawal writes what somebody changed since {held.tag}: {told(hub, repo, held, theirs)}."
        remedy = "Put it back there, then run again; nothing was changed there."
        raise OthersWorkError(what, where=repo, remedy=remedy)


def no_such_tag(repo: str, tag: str, tags: Mapping[str, str]) -> RecipeError:
    """Return the error for a tag that is not there, with the one that was likely meant."""
    meant = nearest(tag, tags)
    remedy = f"Did you mean {meant}?" if meant else f"It has {', '.join(sorted(tags)) or 'no tags'}."
    return RecipeError(f"There is no tag {tag!r}.", where=repo, remedy=remedy)


def plan_at(hub: Hub, repo: str, revision: str) -> str:
    """Return the digest of the plan that was published at a commit.

    Raises:
        RecipeError: This program did not publish it.
    """
    try:
        return TargetPlan.model_validate_json(hub.content(repo, revision, PLAN, LARGEST) or b"").content_digest
    except ValidationError as error:
        remedy = "Only what publish released can be yanked by it; write into that card by hand."
        raise RecipeError("It has no plan of ours.", where=f"{repo}@{revision[:12]}", remedy=remedy) from error


def shown_by(hub: Hub, repo: str, state: RemoteState, known: Withdrawals) -> Shown | None:
    """Return the release that ``main`` shows, whatever lies above it: it has a tag, or had one; else None."""
    if state.release and (here := version_at(state.tags, state.release)):
        return Shown(tag=here, commit=state.release, plan=plan_at(hub, repo, state.release))
    return known.shown if known.shown is not None and known.shown.plan == plan_at(hub, repo, str(state.head)) else None


def changed(hub: Hub, repo: str, head: str, tag: str, known: Withdrawals) -> dict[str, bytes]:
    """Return the files of the commit that withdraws a tag.

    Raises:
        CardError: The card's metadata cannot be read, so that it might be lost.
    """
    found = known.tags[tag]
    is_main = known.shown is not None and known.shown.tag == tag
    try:
        card = (hub.content(repo, head, CARD, LARGEST) or b"").decode("utf-8")
        manifest = Manifest.model_validate_json(hub.content(repo, head, MANIFEST, LARGEST) or b"")
    except (ValidationError, UnicodeDecodeError) as error:
        remedy = "Look at its history: main is not what publish released."
        raise RecipeError("It has no card or no manifest of ours.", where=repo, remedy=remedy) from error
    notice = banner(tag, found, lasting(hub))
    files = {
        CARD: with_banner(card, notice, found.new_version if is_main else None, repo).encode(),
        YANKED: pretty_json(known.model_dump(mode="json")),
    }
    entries = {name: FileEntry(size=len(text), sha256=hashlib.sha256(text).hexdigest()) for name, text in files.items()}
    told = Manifest(files=dict(sorted({**manifest.files, **entries}.items())))
    return {**files, MANIFEST: pretty_json(told.model_dump(mode="json"))}


def commit(hub: Hub, repo: str, head: str, tag: str, files: dict[str, bytes]) -> str:
    """Make the one commit, and return it; where its answer is lost, ``main`` tells whether it was made.

    Raises:
        RemoteChangedError: ``main`` moved since it was read.
        HubUnavailableError: The Hub does not answer.
    """
    from huggingface_hub import CommitOperationAdd

    additions = [CommitOperationAdd(name, content) for name, content in files.items()]
    wanted = Withdrawals.model_validate_json(files[YANKED])
    try:
        with hub.asking(repo):
            return hub.api.create_commit(repo, additions, commit_message=f"Yank {tag}", parent_commit=head).oid
    except (RemoteChangedError, HubUnavailableError):
        now = str(state_of(hub, repo).head)
        if now == head or read_withdrawals(hub, repo, now) != wanted:
            raise
        return now


def lasting(hub: Hub) -> str:
    """Return the address of a Hub; empty where it does not stay."""
    return hub.endpoint if hub.name == hub.endpoint else ""


def banner(tag: str, found: Withdrawal, address: str) -> str:
    """Return the paragraph for the card's top: one line, in which the reason is text and nothing else.

    Whoever verifies the card knows it by its words.

    Args:
        tag: The tag.
        found: Its withdrawal.
        address: Of the Hub where another repository is linked to; empty for one that does not stay.
    """
    other = found.new_version
    name = f"[{inert(other)}]({address}/{other})" if other and address else f"`{other}`"
    instead = f" Use {name} instead." if other else ""
    return f"> **`{tag}` was withdrawn by its publisher.** The reason given: {inert(found.reason)}{instead}\n"


def inert(text: str) -> str:
    r"""Escape text so that Markdown and HTML show it; ``://``, ``www.`` and ``@`` would become links by themselves."""
    return re.sub(r"(?<=[A-Za-z]):(?=//)|(?<=www)\.|@", r"\\\g<0>", as_text(text), flags=re.IGNORECASE)


def with_banner(card: str, paragraph: str, new_version: str | None, where: str) -> str:
    """Return a card with a paragraph above its text, and with ``new_version`` in its metadata where that is given.

    Raises:
        CardError: The metadata cannot be read.
    """
    block = FRONT.match(card)
    head, body = (block[1], card[block.end() :]) if block else ("", card)
    if new_version is not None:
        head = with_field(head, "new_version", new_version, where)
    front = f"---\n{head}---\n" if head else ""
    return f"{front}{paragraph}\n{body}"


def with_field(block: str, name: str, value: str, where: str) -> str:
    """Return a YAML block with one more field; everything else in it stays as it was written.

    Raises:
        CardError: It is no mapping.
    """
    yaml = YAML()
    yaml.width = 1 << 20
    yaml.preserve_quotes = True
    try:
        found: Any = yaml.load(block) or {}
        found[name] = value
    except (YAMLError, TypeError) as error:
        remedy = "Correct its metadata on the Hub first."
        raise CardError("The metadata of the card cannot be read.", where=f"{where}/{CARD}", remedy=remedy) from error
    text = io.StringIO()
    yaml.dump(found, text)
    return text.getvalue()
