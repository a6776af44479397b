"""Summary: what a run in a GitHub workflow came to, where GitHub shows it beneath the job."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.files import human_size, sha256_file
from pipeline.hub.release_files import MANIFEST, MEDIAN, WORST

if TYPE_CHECKING:
    from pipeline.hub.client import Hub
    from pipeline.run import Outcome

HEAD = ("repository", "release", "state", "verdict", "source", "result", "SHA-256 of the manifest")


def summarize(outcomes: Sequence[Outcome], hub: Hub, sealed: Path | None) -> None:
    """Add a table of outcomes to the summary of the workflow's step, with pictures of what is public now.

    Args:
        outcomes: What became of each target.
        hub: The Hub, which is not looked at where there is no summary.
        sealed: Where what was made of each lies, if anywhere.
    """
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place or not outcomes:
        return
    endpoint = hub.endpoint
    rows = [HEAD, ("---",) * len(HEAD), *(row(done, endpoint, sealed) for done in outcomes)]
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    for done in outcomes:
        shown = [name for name in (WORST, MEDIAN) if sealed and done.commit and (sealed / done.target / name).exists()]
        lines += [
            "",
            *(f"![{done.target}]({endpoint}/{done.repository}/resolve/{done.commit}/{name})" for name in shown),
        ]
    with Path(place).open("a", encoding="utf-8") as file:
        file.write("\n".join([*lines, "", ""]))


def row(done: Outcome, endpoint: str, sealed: Path | None) -> Sequence[str]:
    """Return the cells of one target."""
    page = f"{endpoint}/{done.repository}"
    listing = sealed / done.target / MANIFEST if sealed else None
    return (
        f"[{done.repository}]({page})",
        f"[{done.tag}]({page}/tree/{done.commit})" if done.tag else "",
        done.state,
        done.verdict or "",
        human_size(done.source_bytes),
        human_size(done.result_bytes),
        f"`{sha256_file(listing)}`" if listing and listing.exists() else "",
    )
