"""The hashes of the Xet protocol: of a chunk, of many chunks together, of a file, and of what proves a term.

https://huggingface.co/docs/xet/hashing. All are BLAKE3 with a key that says what is hashed, 32 bytes long.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

from blake3 import blake3

_CHUNK_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
_NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
_TERM_KEY = bytes.fromhex("7f1857d6ce56ed66127ff913e7a5c3f3a4cd26d5b5db49e64124987f28fb94c3")
_FILE_KEY = bytes(32)
_NAME = re.compile(r"[0-9a-f]{64}")
_MEAN_BRANCHES = 4
_FEWEST_BRANCHES = 3  # of a node that its own hashes end; what is left at the end of a level may be fewer
_MOST_BRANCHES = 2 * _MEAN_BRANCHES + 1


def is_name(text: str) -> bool:
    """Say whether a text is the name of a hash: 64 lower-case hex digits."""
    return _NAME.fullmatch(text) is not None


def name_of(digest: bytes) -> str:
    """Return a hash as addresses and JSON spell it: the hex of four little-endian numbers of 64 bits."""
    return struct.pack(">4Q", *struct.unpack("<4Q", digest)).hex()


def chunk_hash(content: bytes) -> bytes:
    """Return the hash of a chunk's own bytes."""
    return blake3(content, key=_CHUNK_KEY).digest()


def term_hash(chunks: bytes) -> bytes:
    """Return what proves that somebody knows all chunks of a term: the hash of their hashes, one behind the other."""
    return blake3(chunks, key=_TERM_KEY).digest()


class MerkleTree:
    """The tree over the chunks of a xorb or a file, built as they come; it keeps a few nodes of each level."""

    def __init__(self) -> None:
        self._levels: list[list[tuple[bytes, int]]] = [[]]
        self._counts = [0]

    def add(self, digest: bytes, size: int, level: int = 0) -> None:
        """Append a chunk, or a node of a higher level."""
        if level == len(self._levels):
            self._levels.append([])
            self._counts.append(0)
        waiting = self._levels[level]
        waiting.append((digest, size))
        self._counts[level] += 1
        ends = len(waiting) >= _FEWEST_BRANCHES and _last_number(digest) % _MEAN_BRANCHES == 0
        if ends or len(waiting) == _MOST_BRANCHES:
            self._close(level)

    def root(self) -> bytes:
        """Finish and return the root; without any chunk it is zero."""
        level = 0
        while self._counts[level] > 1:
            if self._levels[level]:
                self._close(level)
            level += 1
        return self._levels[level][0][0] if self._counts[level] else bytes(32)

    def _close(self, level: int) -> None:
        """Put one node above those that wait."""
        waiting, self._levels[level] = self._levels[level], []
        lines = "".join(f"{name_of(digest)} : {size}\n" for digest, size in waiting)
        self.add(blake3(lines.encode(), key=_NODE_KEY).digest(), sum(size for _, size in waiting), level + 1)


def xorb_name(chunks: Iterable[tuple[bytes, int]]) -> str:
    """Return the name of a xorb with these chunks, each given by hash and size in bytes."""
    tree = MerkleTree()
    for digest, size in chunks:
        tree.add(digest, size)
    return name_of(tree.root())


def file_name(tree: MerkleTree) -> str:
    """Return the name of a file whose chunks were all added to a tree; that of the empty file is all zeros."""
    root = tree.root()
    return name_of(blake3(root, key=_FILE_KEY).digest() if any(root) else root)


def _last_number(digest: bytes) -> int:
    return int.from_bytes(digest[24:], "little")
