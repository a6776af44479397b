"""Trial: what is to be released is used once, as its card says, by a process that knows nothing but the release."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.card.context import usages
from pipeline.card.stage import snippet_runs_here, snippets_promised
from pipeline.errors import CannotHereError, GenerationError, VerificationError
from pipeline.files import disk_errors
from pipeline.hub.release_files import QUESTIONS, USAGE
from pipeline.locks import temporary_in
from pipeline.plan.model import TargetPlan
from pipeline.plan.questions import request_of
from pipeline.release.editions import lay_out_edition
from pipeline.validate import generate
from pipeline.validate.compatibility.snippet import cached, offline
from pipeline.worker.process import run

SNIPPET_SECONDS: Final = 6 * 3600.0  # it answers one question in full, perhaps on a processor
Trial = Callable[[str, Path], str]  # takes a commit and the folder that equals it; returns what was done


@dataclass(frozen=True)
class SnippetSmokeTest:
    """Uses a release as its card says.

    Attributes:
        plan: The target's plan.
        home: Where there is room for what is answered.
    """

    plan: TargetPlan
    home: Path

    def require_able(self, folder: Path) -> None:
        """Refuse what this machine cannot use as its card says that it was used: another one may have written that.

        Raises:
            CannotHereError: The card says that its snippet was run, and no device here can.
        """
        promised = zip(snippets_promised(folder), self.plan.editions, strict=True)
        if any(runs and not snippet_runs_here(edition) for runs, edition in promised):
            what = "Its card says that its snippet was run before the release, and no device here can run it."
            remedy = "Release it on a machine with a GPU, such as the one that made it."
            raise CannotHereError(what, where=self.plan.target, remedy=remedy)

    def __call__(self, commit: str, folder: Path) -> str:
        """Load a release and ask it something.

        Args:
            commit: Its commit on the Hub.
            folder: Files of which each was proven to be what the Hub serves at that commit.

        Raises:
            VerificationError: It does not load, or does not answer.
        """
        where = f"{self.plan.repository}@{commit[:12]}"
        with disk_errors(self.home), temporary_in(self.home, "release") as own:
            snapshot = cached(folder, self.plan.repository, commit, own / "hub")
            promised, snippets = snippets_promised(folder), usages(self.plan)
            for number, (runs, (usage, edition)) in enumerate(zip(promised, snippets.items(), strict=True)):
                of = f"{where}/{usage}" if self.plan.further else where
                if runs:
                    run_snippet(snapshot, own, of, usage=usage)
                else:
                    whole = lay_out_edition(folder, self.plan, number, own / "editions" / str(number))
                    load_as_validated(edition, whole, folder / QUESTIONS, own / "answers", of)
        return told_of(promised)


def told_of(promised: Sequence[bool]) -> str:
    """Return what was done, by whether each snippet was run."""
    if all(promised):
        return "the card's snippet ran against it"
    if any(promised):
        return f"{sum(promised)} of {len(promised)} snippets ran against it; the rest loaded as validation loaded it"
    return "it loaded as validation loaded it; the snippet needs a GPU"


def run_snippet(
    snapshot: Path, home: Path, where: str, seconds: float = SNIPPET_SECONDS, usage: str = USAGE
) -> None:  # fmt: skip
    """Run a file of the card's own in a fresh process that can see one commit only, and that as ``main``.

    Raises:
        VerificationError: It fails.
        CannotHereError: It takes longer than some seconds, and was ended.
    """
    try:
        done = run([sys.executable, "-I", str(snapshot / usage)], seconds, offline(home), cwd=home)
    except subprocess.TimeoutExpired as error:
        what = f"The card's snippet hung on what the Hub serves, and was ended after {seconds:.0f} s."
        raise CannotHereError(what, where=where, remedy="Run the same command again: it continues.") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise VerificationError(f"The card's snippet fails on what the Hub serves: {said}.", where=where)


def load_as_validated(plan: TargetPlan, folder: Path, questions: Path, out: Path, where: str) -> None:
    """Ask one question the way validation did.

    Raises:
        VerificationError: It does not load or answer.
    """
    try:
        generate(folder, request_of(plan, questions).only(1, 1), out)
    except GenerationError as error:
        raise VerificationError(f"What the Hub serves does not load: {error.what}", where=where) from error
