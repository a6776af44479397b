"""The card's snippet, tried where nothing is installed but what it takes: what a board needs that runs it.

Whoever judges such a checkpoint holds torch in memory, of which the snippet has no need.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pipeline.files import counted, disk_errors, empty, files_under, human_size, link_or_copy
from pipeline.hub.release_files import QUESTIONS
from pipeline.validate.compatibility.asking import ANSWER_SECONDS, SmallDevice, Tried
from pipeline.validate.compatibility.confined import NAME
from pipeline.validate.report import CompatibilityCheck, Verdict
from pipeline.worker import as_installed
from pipeline.worker.hardware import hardware
from pipeline.worker.process import run
from pipeline.worker.session import last_words

COMMIT: Final = "0" * 40  # of what was not released yet


def try_snippet(  # noqa: PLR0913, PLR0917 - what is run, on what, where, and within which limits
    snippet: str, repo: str, checkpoint: Path, questions: Path | None, spared: Sequence[str], out: Path,
    device: SmallDevice | None = None,
) -> Tried:  # fmt: skip
    """Run a card's snippet on a checkpoint, as on a machine that has no more than it takes.

    Args:
        snippet: Its text.
        repo: The repository that it names.
        checkpoint: The folder of the checkpoint.
        questions: The folder with further files of questions, where there are any.
        spared: Packages that are here and that it does without.
        out: A folder for what it is run with; what it holds is dropped.
        device: What it is confined to.
    """
    if device and sys.platform != "linux":
        return Tried(device="cpu", how="", missing="only Linux keeps a process to so much memory")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        empty(out)
        snapshot = cached(checkpoint, repo, COMMIT, out / "hub")
        for path in files_under(questions) if questions else ():
            link_or_copy(path, snapshot / QUESTIONS / path.name)
        (out / "usage.py").write_text(snippet)
    script, said = out / "usage.py", out / "said.json"
    job = {"script": str(script), "said": str(said), "spared": [*spared], "limits": device and device.model_dump()}
    command = [sys.executable, "-I", as_installed.__file__, json.dumps(job)]
    try:
        done = run(command, ANSWER_SECONDS, offline(out), cwd=out)
    except subprocess.TimeoutExpired:
        return Tried(device="cpu", how="", failure=f"it did not end in {ANSWER_SECONDS:.0f} s")
    if done.returncode:
        words = last_words(done.stderr) or f"it ended with status {done.returncode}"
        return Tried(device="cpu", how="", failure=words)
    numbers = json.loads(said.read_text())
    numbers["threads"] = device.threads if device else len(os.sched_getaffinity(0))
    return Tried(device="cpu", how="as its snippet does", numbers=numbers, processor=hardware()["cpu"])


def cached(folder: Path, repo: str, commit: str, cache: Path) -> Path:
    """Lay a folder out as the client's cache of a commit that is ``main``, and return its snapshot."""
    repository = cache / f"models--{repo.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    for path in files_under(folder):
        link_or_copy(path, snapshot / path.relative_to(folder))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return snapshot


def offline(home: Path) -> dict[str, str]:
    """Return the variables by which the Hub's client knows what `cached` laid out below a folder, and no Hub."""
    return {"HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub"), "HF_HUB_OFFLINE": "1"}


def judge_snippet(found: Tried, spared: Sequence[str], device: SmallDevice | None) -> CompatibilityCheck:
    """Judge what came of running a card's snippet.

    Args:
        found: What was said.
        spared: Packages that it did without.
        device: What it was confined to.
    """
    numbers = found.numbers
    limits = (
        f"Limited to {human_size(device.memory)} of memory and {counted(device.threads, 'thread')}, " if device else ""
    )
    without = f"without {' or '.join(spared)}"

    def judged(verdict: Verdict, text: str) -> CompatibilityCheck:
        said = f"{limits}{without} the card's snippet {text}" if limits else f"W{without[1:]} the card's snippet {text}"
        known: dict[str, Any] = {"memory_limit": float(device.memory)} if device else {}
        name = NAME if device else "snippet"
        return CompatibilityCheck(kind="device", name=name, verdict=verdict, text=said, numbers=known | numbers)

    if found.missing:
        return judged("INCONCLUSIVE", f"cannot be tried on this machine: {found.missing}; validate on Linux.")
    if found.failure:
        return judged("FAIL", f"does not answer: {found.failure.rstrip('.')}.")
    taken = human_size(numbers["peak_memory"])
    if device and numbers["peak_memory"] > device.memory:
        return judged("FAIL", f"has {taken} resident at most, with the files that it maps, and that is more.")
    where = f"with {counted(int(numbers['threads']), 'thread')} of {found.processor}"
    told = f"answers one question in {numbers['seconds']:.1f} s, loading included, and takes {taken} at most"
    return judged("PASS", f"{told}, {where}.")
