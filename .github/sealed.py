"""List what a build has sealed: one entry a target, with its repository and the digest of its manifest.

The list is a job matrix and not a loop, because a trusted publisher's token writes to one repository only. It travels
apart from the files, so that whoever releases them knows that they are the ones that were sealed. Usage: ``sealed.py
FOLDER``; the list is written to stdout and to where GitHub collects a step's outputs.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from pipeline.files import sha256_file
from pipeline.hub.release_files import MANIFEST, PLAN


def sealed(folder: Path) -> list[dict[str, str]]:
    """Return an entry for each target that lies under a folder."""
    found = []
    for listing in sorted(folder.glob(f"*/{MANIFEST}")):
        plan = json.loads((listing.parents[1] / PLAN).read_bytes())
        names = {name: plan[name] for name in ("target", "repository")}
        found.append({**names, "manifest": sha256_file(listing)})
    return found


def main(folder: str) -> None:
    """Write the list."""
    line = f"sealed={json.dumps(sealed(Path(folder)))}\n"
    sys.stdout.write(line)
    if collected := os.environ.get("GITHUB_OUTPUT"):
        with Path(collected).open("a", encoding="utf-8") as output:
            output.write(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
