"""Watch recipes with what is installed, and write what is to be opened.

Usage: ``watch.py FOLDER EXTRAS RECIPE...``, with the extras that publish between spaces. What lies in the folder is
open, as `findings.py` says; what the watch says goes into `watch.txt` beside it. Beside a recipe that is to be made
again come constraints.txt and requirements-publish.txt with the newest versions of what is installed for publishing,
for with the same versions the same would come of it. That something does not load is what is looked for, and no
failure; that something could not be looked at is one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from pipeline.errors import VerificationError
from pipeline.files import write_atomically

PUBLISH = (sys.executable, "-m", "pipeline.cli")
LOCK = (sys.executable, str(Path(__file__).with_name("lock.py")), os.devnull)
CONSTRAINTS, LOCKED = Path("constraints.txt"), Path("requirements-publish.txt")


def watch(folder: Path, found: tuple[str, ...]) -> int:
    """Watch, and return the exit code of what could not be looked at."""
    command, token = [*PUBLISH, "watch", "--findings", str(folder), *found], os.environ.get("SOURCE_TOKEN")
    # What was made of a gated source is gated as well.
    environment = {**os.environ, "HF_TOKEN": token} if token else None
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False) if found else None
    said = done.stdout if done else b"There are no recipes.\n"
    sys.stdout.buffer.write(said)
    write_atomically(folder / "watch.txt", said)
    return done.returncode if done and done.returncode != VerificationError.exit_code else 0


def raised(constraints: str, locked: str) -> str:
    """Return constraints with the versions of what is locked."""
    pins = dict(line.partition(" ")[0].split("==") for line in locked.splitlines() if "==" in line)
    lines = []
    for line in constraints.splitlines():
        name, _, version = line.partition("==")
        lines.append(f"{name}=={Version(pins.get(canonicalize_name(name), version)).public}\n")
    return "".join(lines)


def raise_versions(folders: list[Path], extras: list[str]) -> int:
    """Lay the newest versions beside recipes that are to be made again, and return the exit code."""
    done = subprocess.run([*LOCK, *extras], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return done.returncode
    for folder in folders:
        write_atomically(folder / LOCKED, done.stdout.encode())
        write_atomically(folder / CONSTRAINTS, raised(CONSTRAINTS.read_text(encoding="utf-8"), done.stdout).encode())
    return 0


def main(folder: str, extras: str, *found: str) -> int:
    """Write all of it, and return the exit code."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    code = watch(place, found)
    if collected := os.environ.get("GITHUB_OUTPUT"):
        with Path(collected).open("a", encoding="utf-8") as output:
            output.write("watched=true\n")
    again = sorted(path for path in place.glob("rebuild-*") if path.is_dir())
    return (raise_versions(again, extras.split()) if again else 0) or code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
