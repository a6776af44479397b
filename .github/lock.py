"""Write what the publishing job installs, each file by its SHA-256, from pip's report of what it would install here.

Usage: ``lock.py CONSTRAINTS EXTRA...``. Nothing is installed. Of each package the one wheel for this Python and
platform is listed: the job runs on Linux x86_64 with CPython 3.11, so this has to run there too. Nothing says where a
file came from.
"""

from __future__ import annotations

import json
import subprocess
import sys

from packaging.utils import canonicalize_name

DRY_RUN = ("install", "--dry-run", "--quiet", "--ignore-installed", "--only-binary", ":all:", "--report", "-")
HEADER = "# What the publishing job installs, on Linux x86_64 with CPython 3.11. Written by `make lock`."


def pinned(report: str) -> list[str]:
    """Return a line for each file that pip would install, but for this program itself."""
    files = [one for one in json.loads(report)["install"] if "archive_info" in one["download_info"]]
    found = {canonicalize_name(one["metadata"]["name"]): one for one in files}
    return [
        f"{name}=={one['metadata']['version']} --hash=sha256:{one['download_info']['archive_info']['hashes']['sha256']}"
        for name, one in sorted(found.items())
    ]


def main(constraints: str, *extras: str) -> None:
    """Write the lines to stdout."""
    command = [sys.executable, "-m", "pip", *DRY_RUN, "--constraint", constraints, f".[{','.join(extras)}]"]
    report = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    sys.stdout.write("\n".join([HEADER, *pinned(report)]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
