"""A file as terms over xorbs: what is kept of it, the plan of a download, and its bytes for those who want no Xet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from localhub.files import PIECE
from localhub.xet.shards import Term
from localhub.xet.xorbs import Xorb

Find = Callable[[str], Xorb]


class XetFile(NamedTuple):
    """A file that came by Xet: the name that Xet gives it, its SHA-256, its size in bytes and its terms in order."""

    name: str
    sha256: str
    size: int
    terms: list[Term]


class Piece(NamedTuple):
    """The chunks ``first`` up to but without ``last`` of a xorb, and where their bytes stand in the file."""

    xorb: str
    first: int
    last: int
    start: int
    stop: int


def pieces(terms: list[Term], start: int, stop: int, find: Find) -> Iterator[Piece]:
    """Return the terms that the bytes ``start`` up to but without ``stop`` need, cut at the chunks around them."""
    begins = 0
    for term in terms:
        ends = begins + term.size
        if begins < stop and start < ends:
            yield _cut(Piece(term.xorb, term.first, term.last, begins, ends), start, stop, find)
        begins = ends


def _cut(piece: Piece, start: int, stop: int, find: Find) -> Piece:
    """Leave out the chunks at both ends that lie outside of a range."""
    if start <= piece.start and piece.stop <= stop:
        return piece
    xorb, (name, first, last, begins, ends) = find(piece.xorb), piece
    while begins + xorb[first].size <= start:
        begins += xorb[first].size
        first += 1
    while ends - xorb[last - 1].size >= stop:
        ends -= xorb[last - 1].size
        last -= 1
    return Piece(name, first, last, begins, ends)


def contents(terms: list[Term], start: int, stop: int, find: Find) -> Iterator[bytes]:
    """Read the bytes ``start`` up to but without ``stop``, about a mebibyte at a time."""
    ready = bytearray()
    for piece in pieces(terms, start, stop, find):
        at = piece.start
        for chunk in find(piece.xorb).contents(piece.first, piece.last):
            ready += chunk[max(start - at, 0) : stop - at]
            at += len(chunk)
            if len(ready) >= PIECE:
                yield bytes(ready)
                ready.clear()
    if ready:
        yield bytes(ready)


def reconstruction(
    file: XetFile, start: int, stop: int, find: Find, address: Callable[[str, int, int], str]
) -> dict[str, Any]:
    """Return the plan of a download as the client reads it.

    Args:
        file: What to download.
        start: The first byte that is wanted.
        stop: The byte behind the last one.
        find: Finds a xorb by name.
        address: Makes the address of chunks of a xorb, by its name, the first and the one behind the last.
    """
    wanted = list(pieces(file.terms, start, stop, find))
    spans: dict[str, list[tuple[int, int]]] = {}
    for piece in wanted:
        spans.setdefault(piece.xorb, []).append((piece.first, piece.last))
    return {
        "offset_into_first_range": start - wanted[0].start if wanted else 0,
        "terms": [
            {
                "hash": piece.xorb,
                "unpacked_length": piece.stop - piece.start,
                "range": {"start": piece.first, "end": piece.last},
            }
            for piece in wanted
        ],
        "fetch_info": {
            xorb: [_fetch(xorb, find(xorb), *span, address) for span in _merged(ranges)]
            for xorb, ranges in spans.items()
        },
    }


def _fetch(
    name: str, xorb: Xorb, first: int, last: int, address: Callable[[str, int, int], str]
) -> dict[str, dict[str, int] | str]:
    return {
        "range": {"start": first, "end": last},
        "url": address(name, first, last),
        "url_range": {"start": xorb.offset(first), "end": xorb.offset(last) - 1},
    }


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges that overlap or touch: hf_xet 1.8 panics on overlapping ones."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged
