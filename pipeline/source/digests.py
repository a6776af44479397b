"""Digests of files in a folder, remembered by what the file system says of each, so that none is read twice.

A file counts as the same while its size, its times and its number stay what they were, as git judges its index. Who
reads a file for its content hashes it anyway: a digest that no longer fits is an error there, never a wrong result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.files import pretty_json, write_atomically
from pipeline.source.disk import blake3_of


def digests(files: Mapping[str, Path], memory: Path | None) -> dict[str, str]:
    """Return the BLAKE3 of files by name.

    Args:
        files: The files.
        memory: Where digests are remembered; none to read every file.
    """
    known = remembered(memory)
    found = {}
    for name, path in files.items():
        state = path.stat()
        stamp = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        there = known.get(name)
        found[name] = [*stamp, there[-1] if there and there[:-1] == stamp else blake3_of(path)]
    if memory is not None and found != known:
        write_atomically(memory, pretty_json({"blake3": found}))
    return {name: str(entry[-1]) for name, entry in found.items()}


def remembered(memory: Path | None) -> dict[str, list[int | str]]:
    """Return what was remembered; nothing where that cannot be read."""
    try:
        return dict(json.loads(memory.read_bytes())["blake3"]) if memory else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
