"""Read-back: every byte that the Hub serves at a commit is read as a consumer reads it, and hashed.

What was proven is noted by name and digest, so that an interrupted reading goes on where it was. The Hub keeps files by
their digest, so one that was proven at one commit is proven at every commit that lists it under the same name.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pipeline.errors import VerificationError
from pipeline.events import Event, Listener
from pipeline.files import disk_errors
from pipeline.hub.destination import Destination
from pipeline.hub.release_files import ReleaseFolder
from pipeline.hub.snapshot import Snapshot

PROVEN: Final = re.compile(r"[0-9a-f]{64} .+")
READINGS: Final = 2  # a byte that was damaged on its way comes right the second time
DAMAGED: Final = "Nothing of it is on main; run again, and if it stays so the Hub or what lies between is damaged."


class VerifiedFiles:
    """What was proven of one release, kept on disk; a line that a crash cut short does not count.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        text = path.read_text() if path.is_file() else ""
        self._known = {line for line in text.split("\n")[:-1] if PROVEN.fullmatch(line)}

    def __contains__(self, word: str) -> bool:
        return word in self._known

    def add(self, word: str) -> None:
        """Note what was proven: the digest and the name of a file, or of the release that was used."""
        with disk_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(f"{word}\n")
                file.flush()
                os.fsync(file.fileno())
        self._known.add(word)

    def forget(self) -> None:
        """Remove the notes; the release is done."""
        self._path.unlink(missing_ok=True)


def read_back(
    place: Destination, commit: str, build: ReleaseFolder, proofs: VerifiedFiles, listen: Listener, target: str
) -> None:
    """Read every file of a commit that was not read before.

    Raises:
        VerificationError: Twice a file's bytes were not those that were built.
        HubUnavailableError: The Hub does not answer; what was proven stays so.
    """
    served = Snapshot(place.hub, place.repo, commit)
    done, total = 0, sum(file.size for file in build.files.values())

    def heard(read: int) -> None:
        listen(Event("progress", "read back", target, done=done + read, total=total, unit="B"))

    for name, file in build.files.items():
        if (proof := f"{file.sha256} {name}") not in proofs:
            require_same(served, name, file.sha256, heard)
            proofs.add(proof)
        done += file.size


def require_same(served: Snapshot, name: str, sha256: str, heard: Callable[[int], None]) -> None:
    """Read one file and compare its digest.

    Raises:
        VerificationError: It differs, and did so again.
    """
    for _ in range(READINGS):
        digest, read = hashlib.sha256(), 0
        for piece in served.pieces(name):
            digest.update(piece)
            read += len(piece)
            heard(read)
        if digest.hexdigest() == sha256:
            return
    raise VerificationError(f"The Hub serves {name} otherwise than built.", where=served.where, remedy=DAMAGED)
