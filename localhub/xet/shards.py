"""The format of a shard: which chunks of which xorbs make up which files.

https://huggingface.co/docs/xet/shard. Clients send shards with the files of an upload. Every entry has 48 bytes and
begins with a hash.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from localhub.refusals import bad_request
from localhub.xet.hashes import name_of

SHARD_BYTES = 96 << 20  # clients begin a new one at 64 MiB
_MAGIC = b"HFRepoMetaData" + bytes.fromhex("00556967456a7b815783a5bdd95ccdd14aa9")
_HEADER = struct.Struct("<32sQQ")
_ENTRY = struct.Struct("<32s4I")
_BOOKEND = b"\xff" * 32
_WITH_PROOFS, _WITH_SHA256 = 1 << 31, 1 << 30


class Term(NamedTuple):
    """Consecutive chunks of a xorb: ``first`` up to but without ``last``, ``size`` bytes together."""

    xorb: str
    first: int
    last: int
    size: int


class Sent(NamedTuple):
    """A file as a client announces it: its Xet name, its SHA-256, its terms, and a proof for each of them."""

    name: str
    sha256: str
    terms: list[Term]
    proofs: list[bytes]

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(term.size for term in self.terms)


def read_shard(content: bytes | bytearray) -> Iterator[Sent]:
    """Read the files of a shard; what it says of xorbs is not needed, for they are here.

    Raises:
        RefusedError: 400 when it is no shard, or a file comes without proofs or without its SHA-256.
    """
    try:
        magic, version, _ = _HEADER.unpack_from(content)
        if (magic, version) != (_MAGIC, 2):
            raise bad_request("This is not a shard of version 2.")
        count = (len(content) - _HEADER.size) // _ENTRY.size
        entries = _ENTRY.iter_unpack(memoryview(content)[_HEADER.size :][: count * _ENTRY.size])
        while (head := next(entries))[0] != _BOOKEND:
            yield _file(head, entries)
    except (struct.error, StopIteration) as error:
        raise bad_request("This shard ends too early.") from error


def _file(head: tuple[bytes, int, int, int, int], entries: Iterator[tuple[bytes, int, int, int, int]]) -> Sent:
    digest, flags, count, *_ = head
    if not (flags & _WITH_PROOFS and flags & _WITH_SHA256):
        raise bad_request("A file of this shard comes without verification hashes or without its SHA-256.")
    rows = [next(entries) for _ in range(count)]
    terms = [Term(name_of(xorb), first, last, size) for xorb, _, size, first, last in rows]
    proofs = [next(entries)[0] for _ in range(count)]
    return Sent(name_of(digest), name_of(next(entries)[0]), terms, proofs)
