"""What no Hub answers: other documents, bytes, statuses and headers, bombs, and what is no answer at all."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from functools import cache
from random import Random

from tests.soak.between import Answer, Between
from tests.soak.mutations import ADDRESSES, changed, junk, scrambled, written

MOST_TOLD = 8000  # characters
STATUSES = (
    "100 Continue", "103 Early Hints", "200 OK", "201 Created", "204 No Content", "205 Reset", "206 Part", "226 x",
    "300 x", "301 x", "302 x", "303 x", "304 x", "307 x", "308 x", "399 x", "400 x", "401 x", "402 x", "404 x", "405 x",
    "406 x", "409 x", "410 x", "412 x", "413 x", "416 x", "418 x", "422 x", "423 x", "451 x", "499 x", "501 x", "507 x",
    "511 x", "599 x", "600 x", "999 x", "000 x", "099 x", "20 OK", "2000 OK", "abc", "-1 x", "", "200", "200 \udcff",
)  # fmt: skip
CODES = ("RepoNotFound", "RevisionNotFound", "EntryNotFound", "GatedRepo", "RemoteEntryNotFound", "NoSuchCode", "")
SAID = {  # headers that clients of a Hub read, or parse on their way
    "X-Error-Code": CODES,
    "X-Error-Message": ("x" * 9000, "\x1b[2J", "a b: {}%s"),
    "Retry-After": ("0", "1", "-1", "1000000000", "99999999999999999999", "nan", "1e9",
        "Sun, 06 Nov 2994 08:49:37 GMT"),
    "RateLimit": ('"api";r=0;t=1000000000', '"api";r=0;t=-5', "x", '"a";r=1'),
    "Content-Type": ("text/html", "", "application/json; charset=nosuch", "text/plain; charset=utf-16", "x" * 9000),
    "Content-Length": ("0", "1", "-1", "x", "99999999999", "1, 2", "+5", "0x10", "99999999999999999999999999"),
    "Content-Encoding": ("gzip", "deflate", "br", "zstd", "identity", "x-no", "gzip, gzip, gzip"),
    "Content-Range": ("bytes 0-1/2", "bytes 5-1/2", "bytes */0", "bytes 0-99999999999/*", "x", "bytes 0-0/1"),
    "Transfer-Encoding": ("chunked", "gzip", "identity", "chunked, chunked"),
    "X-Repo-Commit": ("0" * 40, "main", "", "../../x", "x" * 9000),
    "ETag": ('"0"', "", "W/", '"../../outside"', "/etc/passwd", "x" * 9000),
    "X-Linked-Etag": ('"0"', "../../outside", '"' + "a" * 64 + '"'),
    "X-Linked-Size": ("0", "-1", "x", "99999999999999"),
    "X-Xet-Hash": ("0" * 64, "x", "", "../x"),
    "X-Xet-Cas-Url": (*ADDRESSES, "{elsewhere}"),
    "X-Xet-Access-Token": ("", "x"),
    "X-Xet-Token-Expiration": ("0", "-1", "x", "99999999999999"),
    "Set-Cookie": ("a=b; Domain=.com", "x" * 9000, "="),
    "Connection": ("close", "upgrade", "x"),
    "Link": ('<{endpoint}{path}>; rel="next"', '<{elsewhere}/>; rel="next"', "<", '<local:///x>; rel="next"',
        "<>; rel=next"),
    "Location": (*ADDRESSES, "{elsewhere}/x", "{endpoint}{path}", "", "?", "/" * 5000, "//{elsewhere}", "\udcff",
        "/../.."),
}  # fmt: skip
RAW = (
    b"", b"\x00" * 64, b"\xff" * 9000, b"<html>", b"HTTP/0.9 200 OK\r\n\r\n", b"HTTP/2 200\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", b"HTTP/1.1 200 OK\r\na: \x00\r\n\r\n", b"HTTP/1.1 200 OK\r\n b: c\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 30_000 + b"\r\n", b"HTTP/1.1 200 OK\r\na: " + b"x" * 3_000_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 103 x\r\n\r\n" * 5000,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
    b"HTTP/1.1 101 x\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * (80 << 20),
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\nxx",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HTTP/1.1 200 OK\r\n\xc3\x28: \xff\r\nContent-Length: 0\r\n\r\n",
)  # fmt: skip


@dataclass
class Once:
    """Spoils some answers: the n-th, and perhaps those that follow to the same question.

    Attributes:
        rng: Decides how.
        here: The server whose answers they are.
        skip: Answers that stay as they are.
        times: How many are spoiled.
        told: What was done, to be printed where it goes wrong.
    """

    rng: Random
    here: Between
    skip: int
    times: float
    told: str = ""
    path: str = ""

    def __call__(self, method: str, path: str, answer: Answer) -> None:
        """Hear of an answer and perhaps spoil it."""
        plain = path.partition("?")[0]
        self.skip -= 1
        if self.skip >= 0 or self.times <= 0 or (self.path and plain != self.path):
            return
        self.times -= 1
        self.path = plain
        way = self.rng.choice(
            (spoil_json, spoil_json, spoil_json, spoil_body, spoil_status, spoil_header, spoil_header, spoil_raw)
        )
        before = (answer.status, answer.headers, answer.body)
        way(answer, self.rng, {"endpoint": self.here.endpoint, "elsewhere": self.here.elsewhere, "path": path})
        if len(self.told) < MOST_TOLD:
            self.told += f"{method} {path}: {way.__name__}\n{str(before)[:600]}\nbecame\n{str(answer)[:1200]}\n"


Places = dict[str, str]


@cache
def bombs() -> dict[str, bytes]:
    """Return a gigabyte of zeros as servers pack it."""
    zeros = bytes(1 << 30)
    once = gzip.compress(zeros, 1)
    return {"gzip": once, "gzip, gzip": gzip.compress(once), "deflate": zlib.compress(zeros, 1), "br": once}


def spoil_json(answer: Answer, rng: Random, places: Places) -> None:
    """Have a document say something else; what is none becomes one."""
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = junk(rng)
    for _ in range(rng.choice((1, 1, 1, 3))):
        document = changed(document, rng)
    resize(answer, written(document, rng))


def spoil_body(answer: Answer, rng: Random, places: Places) -> None:
    """Send other bytes: cut, scrambled, a page, a bomb."""
    if rng.random() < 0.2:
        encoding = rng.choice(sorted(bombs()))
        answer.set("Content-Encoding", encoding)
        resize(answer, bombs()[encoding])
        return
    body = answer.body
    page = b"<!doctype html><title>Sign in</title>" + b"<p>x" * rng.choice((1, 100_000))
    others = (
        b"",
        body[: len(body) // 2],
        scrambled(body, rng),
        page,
        body + body,
        b"\xff\xfe" + body,
        b"null",
        b"\x80" * 100,
    )
    resize(answer, rng.choice(others))


def spoil_status(answer: Answer, rng: Random, places: Places) -> None:
    """Answer with another status; redirects lead anywhere."""
    answer.status = rng.choice(STATUSES)
    answer.cut = True
    if answer.status.startswith("3") or rng.random() < 0.1:
        answer.set("Location", filled(rng.choice(SAID["Location"]), places))
    if rng.random() < 0.3:
        answer.set("X-Error-Code", rng.choice(CODES))
    if rng.random() < 0.3:
        answer.set("Retry-After", rng.choice(SAID["Retry-After"]))
    if rng.random() < 0.5:
        spoil_json(answer, rng, places)


def spoil_header(answer: Answer, rng: Random, places: Places) -> None:
    """Have one to three headers say something else, or leave them out."""
    for _ in range(rng.choice((1, 1, 3))):
        name = (
            rng.choice((*SAID, *(key for key, _ in answer.headers))) if rng.random() < 0.5 else rng.choice(sorted(SAID))
        )
        if name not in SAID or rng.random() < 0.1:
            answer.headers = [(key, said) for key, said in answer.headers if key != name]
        else:
            answer.set(name, filled(rng.choice(SAID[name]), places))
    if rng.random() < 0.2:
        answer.status = rng.choice(("429 x", "503 x", "302 x", "404 x", "409 x"))
    answer.cut = True


def spoil_raw(answer: Answer, rng: Random, places: Places) -> None:
    """Send what is no answer, or not quite."""
    answer.raw = rng.choice((*RAW, scrambled(answer.written(head=False)[:100_000], rng))) or b"\n"


def filled(text: str, places: Places) -> str:
    """Put addresses into a header's text."""
    for name, place in places.items():
        text = text.replace(f"{{{name}}}", place)
    return text


def resize(answer: Answer, body: bytes) -> None:
    """Send another body, with its length."""
    answer.body = body
    answer.set("Content-Length", str(len(body)))
