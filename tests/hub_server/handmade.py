"""Xorbs and shards made by hand, and a Xet client of few lines: what no well-behaved client would send."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import Any

import httpx2
import lz4.frame

from localhub.xet.hashes import MerkleTree, chunk_hash, file_name, term_hash, xorb_name

MAGIC = b"HFRepoMetaData" + bytes.fromhex("00556967456a7b815783a5bdd95ccdd14aa9")
END = b"\xff" * 32 + bytes(16)
CLIENT = httpx2.Client()
Term = tuple[str, int, int]


def grouped(chunk: bytes) -> bytes:
    return b"".join(chunk[place::4] for place in range(4))


def packed(chunk: bytes, scheme: int) -> bytes:
    return chunk if scheme == 0 else lz4.frame.compress(chunk if scheme == 1 else grouped(chunk))


def framed(chunk: bytes, scheme: int = 0, size: int | None = None, content: bytes | None = None) -> bytes:
    """Return a chunk with its header; ``size`` and ``content`` make it a wrong one."""
    content = packed(chunk, scheme) if content is None else content
    size = len(chunk) if size is None else size
    return bytes(1) + len(content).to_bytes(3, "little") + bytes([scheme]) + size.to_bytes(3, "little") + content


def hash_of(name: str) -> bytes:
    """Return the hash that a name spells."""
    return struct.pack("<4Q", *struct.unpack(">4Q", bytes.fromhex(name)))


def named(chunks: list[bytes]) -> str:
    return xorb_name((chunk_hash(chunk), len(chunk)) for chunk in chunks)


@dataclass
class Made:
    """A file out of terms over xorbs whose chunks are known here."""

    terms: list[Term]
    xorbs: dict[str, list[bytes]]
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def chunks(self) -> list[bytes]:
        return [chunk for xorb, first, last in self.terms for chunk in self.xorbs[xorb][first:last]]

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def sha256(self) -> str:
        return str(self.changes.get("sha256", hashlib.sha256(self.content).hexdigest()))

    @property
    def name(self) -> str:
        tree = MerkleTree()
        for chunk in self.chunks:
            tree.add(chunk_hash(chunk), len(chunk))
        return str(self.changes.get("name", file_name(tree)))

    def shard(self) -> bytes:
        """Return the shard that announces this file alone."""
        flags = self.changes.get("flags", 3 << 30)
        body = struct.pack("<32sQQ", MAGIC, 2, 0) + struct.pack("<32sII8x", hash_of(self.name), flags, len(self.terms))
        for xorb, first, last in self.changes.get("terms", self.terms):
            size = self.changes.get("size", sum(map(len, self.xorbs.get(xorb, [])[first:last])))
            body += struct.pack("<32s4I", hash_of(xorb), 0, size, first, last)
        for xorb, first, last in self.terms:
            known = b"".join(map(chunk_hash, self.xorbs[xorb][first:last]))
            body += struct.pack("<32s16x", self.changes.get("proof", term_hash(known)))
        return body + struct.pack("<32s16x", hash_of(self.sha256)) + END + END


class Xet:
    """One repository's storage, with tokens for both directions, as the bearer of a token of the Hub or of none."""

    def __init__(self, endpoint: str, repo: str = "alice/model", bearer: str = "") -> None:
        self.endpoint, self.repo = endpoint, repo
        self.headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}

    def token(self, operation: str, revision: str = "main", **headers: str) -> httpx2.Response:
        headers = {**self.headers, **headers}
        return CLIENT.get(f"{self.endpoint}/api/models/{self.repo}/xet-{operation}-token/{revision}", headers=headers)

    def call(self, method: str, path: str, operation: str = "write", **options: Any) -> httpx2.Response:
        answer = self.token(operation).json()
        headers = {"Authorization": f"Bearer {answer['accessToken']}", **options.pop("headers", {})}
        return CLIENT.request(method, f"{answer['casUrl']}{path}", headers=headers, **options)

    def send_xorb(self, chunks: list[bytes], scheme: int = 0) -> str:
        name = named(chunks)
        answer = self.post_xorb(name, b"".join(framed(chunk, scheme) for chunk in chunks))
        assert answer.status_code == 200, answer.text
        return name

    def post_xorb(self, name: str, content: bytes) -> httpx2.Response:
        return self.call("POST", f"/v1/xorbs/default/{name}", content=content)

    def post_shard(self, content: bytes) -> httpx2.Response:
        return self.call("POST", "/v1/shards", content=content)

    def commit(self, made: Made, path: str = "m.bin") -> httpx2.Response:
        header = '{"key": "header", "value": {"summary": "Add a file"}}'
        file = f'{{"key": "lfsFile", "value": {{"path": "{path}", "algo": "sha256", "oid": "{made.sha256}"}}}}'
        url = f"{self.endpoint}/api/models/{self.repo}/commit/main"
        return CLIENT.post(url, content=f"{header}\n{file}", headers=self.headers)

    def plan(self, name: str, wanted: str | None = None) -> httpx2.Response:
        headers = {"Range": wanted} if wanted else {}
        return self.call("GET", f"/v1/reconstructions/{name}", "read", headers=headers)
