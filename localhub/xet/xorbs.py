"""The format of a xorb: up to 64 MiB of chunks one behind the other, each compressed by itself.

https://huggingface.co/docs/xet/xorb. Here a table of the chunks stands at the end of the file in the place of the
footer that some clients send, so that a xorb and what is known of it are one file and come with one rename.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lz4.frame import LZ4FrameDecompressor

from localhub.refusals import RefusedError, bad_request
from localhub.xet.hashes import chunk_hash, xorb_name

XORB_BYTES = 65 << 20  # 64 MiB of chunks, and a client's footer
_CHUNK_BYTES = 128 << 10
_CHUNKS = 8192
_HEADER = 8
_FOOTER = b"XETBLOB"
_ROW = struct.Struct("<32sII")
_COUNT = struct.Struct("<I")
_PLAIN, _LZ4, _GROUPED_LZ4 = range(3)


class Chunk(NamedTuple):
    """One chunk of a xorb: its hash, its size in bytes, and where it ends in the file."""

    digest: bytes
    size: int
    end: int


class Xorb:
    """A xorb on the disk with its table."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            file.seek(-_COUNT.size, os.SEEK_END)
            (count,) = _COUNT.unpack(file.read())
            file.seek(-_COUNT.size - count * _ROW.size, os.SEEK_END)
            self._table = file.read(count * _ROW.size)

    def __len__(self) -> int:
        """Count the chunks."""
        return len(self._table) // _ROW.size

    def __getitem__(self, number: int) -> Chunk:
        """Return what is known of a chunk."""
        digest, size, end = _ROW.unpack_from(self._table, number * _ROW.size)
        return Chunk(digest, size, end)

    def chunks(self, first: int, last: int) -> list[Chunk]:
        """Return what is known of the chunks from ``first`` up to but without ``last``."""
        return [self[number] for number in range(first, last)]

    def offset(self, number: int) -> int:
        """Return where a chunk begins in the file."""
        return self[number - 1].end if number else 0

    def check(self, first: int, last: int) -> None:
        """Read chunks for nothing but to find them whole: who downloads by Xet does not look at their hashes.

        Raises:
            RefusedError: 404 when they are not.
        """
        for _ in self.contents(first, last):
            pass

    def contents(self, first: int, last: int) -> Iterator[bytes]:
        """Read the bytes of the chunks from ``first`` up to but without ``last``."""
        with self._path.open("rb") as file:
            file.seek(self.offset(first))
            for number in range(first, last):
                yield self._whole(file, self[number])

    def _whole(self, file: BinaryIO, chunk: Chunk) -> bytes:
        """Read the next chunk if it still is the one that came; waiting does not heal it, so nobody is to try again."""
        with suppress(RefusedError):
            content = _content(file, chunk.end)
            if content is not None and chunk_hash(content) == chunk.digest:
                return content
        raise RefusedError(404, "DamagedXorb", f"The xorb {self._path.name} is damaged on the disk of the Hub.")


def seal(path: Path, name: str) -> None:
    """Check an arrived xorb against its name and write the table behind its chunks.

    Raises:
        RefusedError: 400 when it is no xorb, or not the one that it is called.
    """
    table = _read(path)
    if not 0 < len(table) <= _CHUNKS or xorb_name((chunk.digest, chunk.size) for chunk in table) != name:
        raise bad_request(f"The chunks received are not those of the xorb {name}.")
    with path.open("r+b") as file:
        file.truncate(table[-1].end)
        file.seek(0, os.SEEK_END)
        file.write(b"".join(_ROW.pack(*chunk) for chunk in table) + _COUNT.pack(len(table)))


def _read(path: Path) -> list[Chunk]:
    table: list[Chunk] = []
    with path.open("rb") as file:
        length = path.stat().st_size
        while (content := _content(file, length)) is not None and len(table) <= _CHUNKS:
            table.append(Chunk(chunk_hash(content), len(content), file.tell()))
    return table


def _content(file: BinaryIO, limit: int) -> bytes | None:
    """Read the next chunk and unpack it; at the end, or where a footer begins, there is none."""
    header = file.read(_HEADER)
    if not header or header[1:] == _FOOTER or header.startswith(_FOOTER):
        return None
    if len(header) < _HEADER or header[0] != 0:
        raise bad_request("A chunk of this xorb has a header that cannot be read.")
    packed_size, scheme, size = int.from_bytes(header[1:4], "little"), header[4], int.from_bytes(header[5:8], "little")
    if not 0 < size <= _CHUNK_BYTES or file.tell() + packed_size > limit or packed_size > 2 * _CHUNK_BYTES:
        raise bad_request("A chunk of this xorb has a size that cannot be.")
    content = _unpacked(scheme, file.read(packed_size), size)
    if len(content) != size:
        raise bad_request("A chunk of this xorb has not the size that it declares.")
    return content


def _unpacked(scheme: int, packed: bytes, size: int) -> bytes:
    if scheme == _PLAIN:
        return packed
    if scheme not in {_LZ4, _GROUPED_LZ4}:
        raise bad_request(f"A chunk of this xorb is compressed in an unknown way: {scheme}.")
    try:  # one byte more than promised is enough to see that the promise is wrong
        plain = LZ4FrameDecompressor().decompress(packed, max_length=size + 1)
    except RuntimeError as error:
        raise bad_request(f"A chunk of this xorb cannot be decompressed: {error}.") from error
    return plain if scheme == _LZ4 else _ungrouped(plain)


def _ungrouped(grouped: bytes) -> bytes:
    """Put bytes back in order that were sorted by their place in groups of four."""
    plain = bytearray(len(grouped))
    taken = 0
    for place in range(4):
        count = len(range(place, len(grouped), 4))
        plain[place::4] = grouped[taken : taken + count]
        taken += count
    return bytes(plain)
