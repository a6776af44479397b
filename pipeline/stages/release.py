"""Release: one commit on a pull request, read back whole, used as a stranger would, then merged and tagged.

Nothing is remembered between runs: where a release stands is read from the remote each time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from pipeline.errors import RemoteChangedError, VerificationError
from pipeline.events import Event, Listener
from pipeline.files import disk_errors, manifest_of
from pipeline.hub.client import Gate, Hub, RemoteState, Staged, differences, require_same
from pipeline.plan import TargetPlan
from pipeline.quality import GenerationError, generate
from pipeline.quality.generate import SECRETS
from pipeline.stages.card import USAGE, snippet_runs_here
from pipeline.stages.validate import request_of

VERSION_TAG: Final = re.compile(r"v([1-9][0-9]*)")


class Release(BaseModel):
    """What was published: the commit on ``main`` and its tag."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    commit: str
    tag: str


def release(
    plan: TargetPlan, folder: Path, hub: Hub, aside: Path, listen: Listener, gated: Gate | None = None
) -> Release:
    """Publish a folder, or finish what an interrupted run began.

    Args:
        plan: The target's plan.
        folder: Everything that is uploaded.
        hub: Where to.
        aside: A folder with room for everything once more, which is read back there.
        listen: Hears what is done.
        gated: How the source is gated; the result is gated the same way.

    Raises:
        RemoteChangedError: Somebody else changed ``main`` meanwhile.
        VerificationError: The Hub does not serve what was uploaded, or it does not load.
        HubUnavailableError: The Hub does not answer; a later run continues.
        CannotHereError: The token may not write there.
    """
    repo = plan.repository
    hub.require_writer(repo)
    head = hub.create(repo, private=plan.private, gated=gated)
    state = hub.state(repo)
    if differences(hub.tree(repo, head), folder):
        staged = stage(plan, folder, hub, state, head, listen)
        verify(plan, folder, hub, staged.commit, aside, listen)
        head = hub.merge(repo, staged, head)
        listen(Event("note", "release", plan.target, f"merged pull request {staged.number} of {repo}"))
    else:
        verify(plan, folder, hub, head, aside, listen)
    if wrong := differences(hub.tree(repo, head), folder):
        raise RemoteChangedError(f"main is {head[:12]} after the merge and differs in {wrong[0]}.", where=repo)
    tag = version_tag(state, head)
    hub.tag(repo, tag, head)
    return Release(repository=repo, commit=head, tag=tag)


def stage(plan: TargetPlan, folder: Path, hub: Hub, state: RemoteState, head: str, listen: Listener) -> Staged:
    """Return the pull request with exactly this folder: one that an interrupted run left, or a new one."""
    title = f"Publish {plan.target} ({plan.digest[:12]})"
    left = (state.staged or {}).get(title)
    if left is not None:
        # One that was made on an older main would be mixed with what came there since.
        on_head = hub.parent_of(plan.repository, left.commit) == head
        if on_head and not differences(hub.tree(plan.repository, left.commit), folder):
            return left
        hub.abandon(plan.repository, left, "Superseded: it is not the present build on the present main.")
    listen(Event("note", "release", plan.target, f"uploading to a pull request of {plan.repository}"))
    return hub.stage(plan.repository, folder, head, title)


def version_tag(state: RemoteState, commit: str) -> str:
    """Return the tag of a commit: the one it has, else the next of v1, v2, ..."""
    numbers = {int(found[1]): at for tag, at in (state.tags or {}).items() if (found := VERSION_TAG.fullmatch(tag))}
    there = [number for number, at in numbers.items() if at == commit]
    return f"v{there[0] if there else max(numbers, default=0) + 1}"


def verify(plan: TargetPlan, folder: Path, hub: Hub, commit: str, aside: Path, listen: Listener) -> None:
    """Download a commit into an empty cache, hash every byte of it, and load it as its card says.

    Raises:
        VerificationError: A byte differs, or it does not load.
    """
    where = f"{plan.repository}@{commit[:12]}"
    with emptied(aside / f"verify-{plan.digest[:12]}") as home:
        snapshot = hub.download(plan.repository, commit, home / "hub")
        require_same(manifest_of(resolved(snapshot, home / "plain")), manifest_of(folder), where)
        listen(Event("note", "release", plan.target, f"every byte of {where} is the one that was built"))
        if snippet_runs_here(plan):
            run_snippet(snapshot / USAGE, commit, home, where)
            listen(Event("note", "release", plan.target, "the card's snippet ran against it"))
        else:
            load_as_validated(plan, snapshot, home / "answers", where)
            listen(Event("note", "release", plan.target, "it loaded as validation loaded it; the snippet needs a GPU"))


@contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """Return a folder that is empty, whatever a killed run left in it, and gone afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    with disk_errors(folder):
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def resolved(snapshot: Path, to: Path) -> Path:
    """Return a snapshot of the client's cache, whose files are links into it, as plain files."""
    for path in sorted(snapshot.rglob("*")):
        if path.is_file():
            place = to / path.relative_to(snapshot)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.hardlink_to(path.resolve())
    return to


def run_snippet(snippet: Path, commit: str, home: Path, where: str) -> None:
    """Run the card's own file in a fresh process that can see the staged commit only, as if it were ``main``.

    Raises:
        VerificationError: It fails.
    """
    repository = snippet.parents[3]
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    offline = {"HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub"), "HF_HUB_OFFLINE": "1"}
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
    done = subprocess.run(
        [sys.executable, "-I", str(snippet)],
        cwd=home,
        env=environment | offline,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise VerificationError(f"The card's snippet fails on what the Hub serves: {said}.", where=where)


def load_as_validated(plan: TargetPlan, snapshot: Path, out: Path, where: str) -> None:
    """Draw one picture the way validation did.

    Raises:
        VerificationError: It does not load or draw.
    """
    request = request_of(plan)
    try:
        generate(snapshot, request.model_copy(update={"prompts": request.prompts[:1], "seeds": request.seeds[:1]}), out)
    except GenerationError as error:
        raise VerificationError(f"What the Hub serves does not load: {error.what}", where=where) from error
