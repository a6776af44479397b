"""What the requests of two runs tell: how far the first had come, and what the second did though it was done."""

from __future__ import annotations

import re
from collections.abc import Sequence

USED = "used"
# What a release does by each request, and what names the one thing that is done by it; the first that fits counts.
WORK = [
    ("create", r"POST (/api/repos/create)"),
    ("upload", r"PUT /uploads/\w+/(\w+)"),
    ("upload", r"POST /xet/\w+/v\d/(xorbs|shards)"),
    ("stage", r"POST /api/models/(alice/[\w-]+)/commit/main\?create_pr=1"),
    ("promote", r"POST /api/models/(alice/[\w-]+)/commit/main$"),
    ("read back", r"GET /alice/[\w-]+/resolve/\w+/(.+)"),
    ("read back", r"GET /xet/\w+/v1/reconstructions/(\w+)"),
    ("use", rf"({USED})$"),
    ("tag", r"POST /api/models/(alice/[\w-]+)/tag/"),
    ("close", r"POST /api/models/(alice/[\w-]+/discussions/\d+)/status"),
]
# Xet is asked for several things at once, and a small file is not there before where it is redirected to.
ONE_AFTER_ANOTHER = re.compile(rf"\w+ /(api/(?!resolve-cache/)|alice/)|{USED}$")
PREPARES = re.compile(r"/preupload/|/info/lfs/|/xet-write-token/|POST /xet/")
ASKED_EACH_TIME = {"publish/plan.json", "publish/manifest.json"}  # what is to be done, and what there is ours


def work_of(line: str) -> tuple[str, str] | None:
    """Return what is done by a request and for what; None where it only looks."""
    for step, pattern in WORK:
        if (found := re.match(pattern, line)) and found[1] not in ASKED_EACH_TIME:
            return step, found[1]
    return None


def step_of(lines: Sequence[str]) -> str:
    """Return what a run was about, or had done last, when it had come so far."""
    for line in reversed(lines):
        if work := work_of(line):
            return work[0]
        if PREPARES.search(line):
            return "upload"
    return "begin"


def finished(lines: Sequence[str]) -> set[tuple[str, str]]:
    """Return the work whose answer had come: whoever asked for it asked for something else afterwards."""
    places = [number for number, line in enumerate(lines) if ONE_AFTER_ANOTHER.match(line)]
    return {work for line in lines[: max(places, default=0)] if (work := work_of(line))}


def repeated(before: Sequence[str], after: Sequence[str]) -> str:
    """Return what a run did again though the one before had finished it."""
    again = finished(before) & {work for line in after if (work := work_of(line))}
    return ", ".join(f"{step} {what}" for step, what in sorted(again))
