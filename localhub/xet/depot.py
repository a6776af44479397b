"""What Xet clients brought: xorbs as they came, and files as terms over them.

    xorbs/ab/<xorb>     the chunks, still compressed, and a table of them
    files/ab/<file>     SHA-256, size and terms
    sha256/ab/<sha256>  -> the file with these bytes

The xorbs are the storage, and a plain download decodes them as it goes. To put each file together on arrival instead
would be simpler to serve, and keep what many files share once for each: here two checkpoints that differ in a layer
cost one checkpoint and a layer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from localhub.arriving import Arriving
from localhub.files import canonical_json, write_atomically
from localhub.refusals import bad_request, entry_not_found
from localhub.xet.files import XetFile, contents
from localhub.xet.hashes import MerkleTree, file_name, term_hash
from localhub.xet.shards import Sent, Term
from localhub.xet.xorbs import Chunk, Xorb, seal


class Depot:
    """A folder of xorbs and of the files made of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has_xorb(self, name: str) -> bool:
        """Say whether a xorb is here."""
        return self.xorb_path(name).is_file()

    def xorb_path(self, name: str) -> Path:
        """Return where a xorb lies or would lie."""
        return self._place("xorbs", name)

    def xorb(self, name: str) -> Xorb:
        """Return a xorb.

        Raises:
            RefusedError: 404 when it was never sent.
        """
        try:
            return Xorb(self.xorb_path(name))
        except FileNotFoundError:
            raise entry_not_found(f"There is no xorb {name}.") from None

    def keep(self, arriving: Arriving, name: str) -> None:
        """Check a xorb that has arrived and give it its name; nothing is kept of a wrong one."""
        seal(arriving.path, name)
        arriving.move_to(self.xorb_path(name))

    def file(self, name: str) -> XetFile | None:
        """Return a file by the name that Xet gives it."""
        return _read(self._place("files", name))

    def by_sha256(self, sha256: str) -> XetFile | None:
        """Return a file by its SHA-256."""
        return _read(self._place("sha256", sha256))

    def name(self, sha256: str) -> str | None:
        """Return the name that Xet gives to the file with a SHA-256, if that came by Xet."""
        try:
            return self._place("sha256", sha256).readlink().name
        except FileNotFoundError:
            return None

    def contents(self, file: XetFile, start: int, stop: int) -> Iterator[bytes]:
        """Read the bytes of a file from ``start`` up to but without ``stop``."""
        return contents(file.terms, start, stop, self.xorb)

    def register(self, sent: Sent) -> None:
        """Keep a file of a shard after everything that it claims was found true; its SHA-256 comes last.

        What is known already has to be proven again, for its sender gets a right to it.

        Raises:
            RefusedError: 400 when a xorb is missing, a proof is wrong, or the bytes are not those of the two names.
        """
        self._require_terms(sent)
        known = self.file(sent.name)
        if known is None or known.sha256 != sent.sha256:
            self._require_content(sent)
            record = {"sha256": sent.sha256, "size": sent.size, "terms": sent.terms}
            write_atomically(self._place("files", sent.name), canonical_json(record))
        link = self._place("sha256", sent.sha256)
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # the first file with this content stays the one that is meant
            link.symlink_to(Path("..", "..", "files", sent.name[:2], sent.name))

    def _require_terms(self, sent: Sent) -> None:
        """Compare the chunks of a file with its name."""
        tree = MerkleTree()
        for term, proof in zip(sent.terms, sent.proofs, strict=True):
            for chunk in self._proven(term, proof):
                tree.add(chunk.digest, chunk.size)
        if file_name(tree) != sent.name:
            raise bad_request(f"The terms of the file {sent.name} are those of another file.")

    def _require_content(self, sent: Sent) -> None:
        digest = hashlib.sha256()
        for piece in contents(sent.terms, 0, sent.size, self.xorb):
            digest.update(piece)
        if digest.hexdigest() != sent.sha256:
            raise bad_request(f"The file {sent.name} has the SHA-256 {digest.hexdigest()}, not {sent.sha256}.")

    def _proven(self, term: Term, proof: bytes) -> list[Chunk]:
        """Return the chunks of a term if its sender knew them; a xorb's name alone must open nothing."""
        if not self.has_xorb(term.xorb):
            raise bad_request(f"The xorb {term.xorb} was not uploaded.")
        xorb = self.xorb(term.xorb)
        if not 0 <= term.first < term.last <= len(xorb):
            raise bad_request(f"The xorb {term.xorb} has no chunks {term.first} to {term.last}.")
        chunks = xorb.chunks(term.first, term.last)
        known = term_hash(b"".join(chunk.digest for chunk in chunks)) == proof
        if not known or sum(chunk.size for chunk in chunks) != term.size:
            raise bad_request(f"The chunks {term.first} to {term.last} of the xorb {term.xorb} are others.")
        return chunks

    def _place(self, kind: str, name: str) -> Path:
        return self._folder / kind / name[:2] / name


def _read(path: Path) -> XetFile | None:
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    name = path.resolve().name
    return XetFile(name, record["sha256"], record["size"], [Term(*term) for term in record["terms"]])
