"""Reads the weights in folders once and forwards into one buffer, as everybody must who looks into all of them.

Usage: python benchmarks/reading.py FOLDER...
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

PIECE = 8 << 20
ENDINGS = {".safetensors", ".gguf"}


def weights(folders: Iterable[Path]) -> list[Path]:
    """Return the files of weights in folders."""
    return sorted(path for folder in folders for path in folder.iterdir() if path.suffix in ENDINGS)


def main() -> None:
    """Read every file."""
    buffer = bytearray(PIECE)
    for path in weights(map(Path, sys.argv[1:])):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


if __name__ == "__main__":
    main()
