"""What the storage of Xet takes is what it is called, and what it gives is for those with a right to it."""

from __future__ import annotations

import base64
import itertools
import json
import os
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import lz4.frame
import pytest
from huggingface_hub import HfApi

from localhub.refusals import RefusedError
from localhub.server import running
from localhub.web import Limits
from localhub.xet.hashes import name_of
from localhub.xet.xorbs import seal
from tests.hub_server.handmade import CLIENT, Made, Xet, framed, grouped, named

CHUNKS = [bytes([number]) * (100 + number) + os.urandom(50) for number in range(9)]


@pytest.fixture
def xet(endpoint: str, repo: str) -> Xet:
    return Xet(endpoint, repo)


def kept(xet: Xet, *terms: tuple[int, int], chunks: list[bytes] | None = None) -> Made:
    """Send a xorb, a file of ranges of it, and a commit with that file."""
    chunks = chunks or CHUNKS
    name = xet.send_xorb(chunks)
    made = Made([(name, *term) for term in terms or ((0, len(chunks)),)], {name: chunks})
    assert xet.post_shard(made.shard()).status_code == 200
    assert xet.commit(made).status_code == 200
    return made


def fetched(plan: dict[str, Any], made: Made) -> bytes:
    """Put a download together from its plan, as ``hf_xet`` does, from the bytes that the addresses give."""
    content = b""
    for term in plan["terms"]:
        first, last = term["range"]["start"], term["range"]["end"]
        (info,) = (
            info
            for info in plan["fetch_info"][term["hash"]]
            if info["range"]["start"] <= first and last <= info["range"]["end"]
        )
        span = info["url_range"]
        answer = CLIENT.get(info["url"], headers={"Range": f"bytes={span['start']}-{span['end']}"})
        assert (answer.status_code, len(answer.content)) == (206, span["end"] - span["start"] + 1)
        rest, chunks = answer.content, []
        while rest:
            end = 8 + int.from_bytes(rest[1:4], "little")
            chunks.append(rest[8:end])
            rest = rest[end:]
        part = b"".join(chunks[first - info["range"]["start"] : last - info["range"]["start"]])
        assert len(part) == term["unpacked_length"]
        content += part
    return content[plan["offset_into_first_range"] :]


def plain(endpoint: str, wanted: str | None = None, method: str = "GET") -> httpx2.Response:
    headers = {"Range": wanted} if wanted else {}
    return CLIENT.request(method, f"{endpoint}/alice/model/resolve/main/m.bin", headers=headers, follow_redirects=True)


def test_a_hash_is_spelled_as_four_little_endian_numbers() -> None:
    spelled = "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918"
    assert name_of(bytes(range(32))) == spelled


@pytest.mark.parametrize("scheme", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 1001, 128 << 10])
def test_every_compression_is_understood(endpoint: str, xet: Xet, scheme: int, size: int) -> None:
    chunks = [(b"abcdefg" * size)[:size], os.urandom(size)]
    name = xet.send_xorb(chunks, scheme)
    made = Made([(name, 1, 2), (name, 0, 2)], {name: chunks})
    assert xet.post_shard(made.shard()).status_code == 200
    assert xet.commit(made).status_code == 200
    assert plain(endpoint).content == made.content


def test_the_grouping_that_is_sent_here_is_that_of_the_specification() -> None:
    assert grouped(b"A1B2C3D4E5") == b"ACE135BD24"


def test_a_footer_of_another_client_is_left_out(endpoint: str, xet: Xet, root: Path) -> None:
    content = b"".join(map(framed, CHUNKS))
    assert xet.post_xorb(named(CHUNKS), content + b"XETBLOB" + bytes(500)).json() == {"was_inserted": True}
    assert xet.post_xorb(named(CHUNKS), content).json() == {"was_inserted": False}
    assert kept(xet).content == plain(endpoint).content


def test_a_xorb_that_is_not_what_it_is_called_is_refused(xet: Xet, root: Path) -> None:
    whole = b"".join(map(framed, CHUNKS))
    text = b"x" * 1000
    wrong = {
        "a flipped byte": whole[:300] + bytes([whole[300] ^ 1]) + whole[301:],
        "a chunk less": b"".join(map(framed, CHUNKS[:-1])),
        "another order": b"".join(map(framed, reversed(CHUNKS))),
        "an early end": whole[:-1],
        "an end in a header": whole + b"\0\1",
        "nothing": b"",
        "a footer alone": b"XETBLOB" + bytes(50),
        "another version": b"\1" + whole[1:],
        "an unknown compression": framed(text, 3, content=text),
        "no compression at all": framed(text, 1, content=text),
        "half of a compressed chunk": framed(text, 1, content=lz4.frame.compress(text)[:-8]),
        "a size that is too small": framed(text, 0, 999, text),
        "a size that is too large": framed(text, 0, 1001, text),
        "an empty chunk": framed(b""),
        "a chunk of more than 128 KiB": framed(bytes((128 << 10) + 1)),
    }
    for what, content in wrong.items():
        answer = xet.post_xorb(named(CHUNKS), content)
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (400, "BadRequest"), what
    assert not [path for path in (root / "objects").rglob("*") if path.is_file() and "sha256" not in path.parts]
    for name in ("A" * 64, "0" * 63, "..", "%2e%2e%2fx"):
        assert xet.post_xorb(name, whole).status_code in {400, 404}, name


def test_a_chunk_that_grows_beyond_its_promise_takes_no_memory(tmp_path: Path) -> None:
    bombs = (framed(b"", 1, 10, lz4.frame.compress(bytes(60 << 20))), framed(b"", 0, 10, bytes((1 << 24) - 1)))
    for number, bomb in enumerate(bombs):
        path = tmp_path / str(number)
        path.write_bytes(bomb)
        tracemalloc.start()
        with pytest.raises(RefusedError):
            seal(path, named(CHUNKS))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


def test_a_shard_that_claims_what_is_not_so_is_refused(xet: Xet, endpoint: str) -> None:
    name = xet.send_xorb(CHUNKS)
    absent = named(CHUNKS[:3])
    xorbs = {name: CHUNKS, absent: CHUNKS[:3]}
    true = Made([(name, 0, 4), (name, 2, 9)], xorbs)
    wrong = {
        "a xorb that was never sent": Made([(absent, 0, 3)], xorbs),
        "chunks behind the last": Made([(name, 0, 9)], xorbs, {"terms": [(name, 0, 10)]}),
        "no chunks": Made([(name, 3, 3)], xorbs),
        "a backward range": Made([(name, 0, 9)], xorbs, {"terms": [(name, 5, 4)]}),
        "a wrong size": Made(true.terms, xorbs, {"size": 7}),
        "a proof by somebody who does not know the chunks": Made(true.terms, xorbs, {"proof": bytes(32)}),
        "no proofs": Made(true.terms, xorbs, {"flags": 1 << 30}),
        "no SHA-256": Made(true.terms, xorbs, {"flags": 1 << 31}),
        "another Xet name": Made(true.terms, xorbs, {"name": "1" * 64}),
        "another SHA-256": Made(true.terms, xorbs, {"sha256": "1" * 64}),
    }
    for what, made in wrong.items():
        assert xet.post_shard(made.shard()).status_code == 400, what
        assert xet.commit(made).status_code == 400, what
    shard = true.shard()
    for content in (b"", b"no shard", shard[:100], shard[:48], b"\0" + shard[1:], shard[:32] + b"\3" + shard[33:]):
        assert xet.post_shard(content).status_code == 400
    assert xet.commit(true).status_code == 400, "a refused shard must leave nothing"

    assert xet.post_shard(shard).status_code == 200
    assert xet.post_shard(shard).status_code == 200, "an answer that was lost is asked for again"
    assert xet.commit(true).status_code == 200
    assert plain(endpoint).content == true.content


def test_every_range_of_a_file_can_be_reconstructed_and_read_plainly(endpoint: str, xet: Xet) -> None:
    made = kept(xet, (2, 5), (0, 1), (4, 9), (0, 1), (0, 1), chunks=[os.urandom(3 + number) for number in range(9)])
    content = made.content
    pairs = list(itertools.combinations(range(len(content) + 1), 2))
    for start, stop in Random(0).sample(pairs, 60):
        wanted = f"bytes={start}-{stop - 1}"
        plan = xet.plan(made.name, wanted)
        assert plan.status_code == 200
        assert fetched(plan.json(), made)[: stop - start] == content[start:stop]
        answer = plain(endpoint, wanted)
        assert (answer.status_code, answer.content) == (206, content[start:stop])
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(content)}"


def test_the_ranges_of_one_xorb_never_overlap(xet: Xet) -> None:
    made = kept(xet, (0, 3), (2, 5), (0, 1), (5, 6), (7, 9), (7, 8))
    (infos,) = xet.plan(made.name).json()["fetch_info"].values()
    assert [(info["range"]["start"], info["range"]["end"]) for info in infos] == [(0, 6), (7, 9)]


def test_ranges_are_answered_as_http_wants_them(endpoint: str, xet: Xet) -> None:
    content = kept(xet).content
    size = len(content)
    for wanted, part in {
        "bytes=5-": content[5:],
        "bytes=-7": content[-7:],
        f"bytes=-{size + 9}": content,
        f"bytes=3-{size * 2}": content[3:],
    }.items():
        assert (plain(endpoint, wanted).status_code, plain(endpoint, wanted).content) == (206, part)
    for ignored in (None, "bytes=", "bytes=-", "lines=1-2", "bytes=0-1,5-6"):
        assert (plain(endpoint, ignored).status_code, plain(endpoint, ignored).content) == (200, content)
    for beyond in (f"bytes={size}-", f"bytes={size + 5}-{size + 9}", "bytes=-0"):
        assert plain(endpoint, beyond).status_code == 416
    assert xet.plan(Made([], {}, {}).name).status_code == 404
    told = plain(endpoint, method="HEAD")
    assert (told.headers["Content-Length"], told.headers["Accept-Ranges"], told.content) == (str(size), "bytes", b"")


def test_nothing_is_taken_or_given_without_the_right_token(endpoint: str, xet: Xet, repo: str) -> None:
    made = kept(xet)
    write, read = (xet.token(operation).json() for operation in ("write", "read"))
    calls = {
        ("POST", f"/v1/xorbs/default/{named(CHUNKS)}"): read,
        ("POST", "/v1/shards"): read,
        ("GET", f"/v1/reconstructions/{made.name}"): write,
    }
    head, signature = write["accessToken"].split(".")
    right = json.loads(base64.urlsafe_b64decode(head + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**right, "expires": 2**40}).encode()).decode().rstrip("=")
    for (method, path), wrong in calls.items():
        url = f"{write['casUrl']}{path}"
        for token in (None, "hf_local", "a.b", f"{forged}.{signature}", f"{head}.", f"{head}.{'0' * 32}", "ü.ü"):
            headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
            assert CLIENT.request(method, url, headers=headers).status_code == 401, (path, token)
        headers = {"Authorization": f"Bearer {wrong['accessToken']}"}
        assert CLIENT.request(method, url, headers=headers).status_code == 403, path


def test_tokens_and_addresses_expire(root: Path) -> None:
    with running(root) as endpoint:
        HfApi(endpoint=endpoint, token=False).create_repo("alice/model")
        made = kept(Xet(endpoint))
        lasting = Xet(endpoint).token("read").json()["accessToken"]
    with running(root, limits=Limits(token_seconds=-1)) as endpoint:
        xet = Xet(endpoint)
        late = xet.plan(made.name)
        assert (late.status_code, late.headers["X-Error-Code"]) == (401, "ExpiredToken")
        url = f"{xet.token('read').json()['casUrl']}/v1/reconstructions/{made.name}"
        plan = CLIENT.get(url, headers={"Authorization": f"Bearer {lasting}"}).json()
        (infos,) = plan["fetch_info"].values()
        late = CLIENT.get(infos[0]["url"], headers={"Range": "bytes=0-7"})
        assert (late.status_code, late.headers["X-Error-Code"]) == (403, "ExpiredAddress")


def test_an_address_gives_its_chunks_and_no_others(xet: Xet) -> None:
    made = kept(xet, (2, 4))
    (infos,) = xet.plan(made.name).json()["fetch_info"].values()
    url, span = infos[0]["url"], infos[0]["url_range"]
    for wanted in (
        f"bytes={span['start'] - 1}-{span['end']}",
        f"bytes={span['start']}-{span['end'] + 1}",
        f"bytes={span['start']}-",
        "bytes=-9",
        "bytes=0-1,2-3",
        None,
    ):
        headers = {"Range": wanted} if wanted else {}
        assert CLIENT.get(url, headers=headers).status_code == 403, wanted
    for forged in (url.replace("/2-4/", "/0-9/"), url.replace("/xorbs/", "/xorbs/0")):
        assert CLIENT.get(forged, headers={"Range": "bytes=0-9"}).status_code == 403


def test_a_token_to_read_is_for_the_files_of_its_commit_alone(endpoint: str, api: HfApi, xet: Xet) -> None:
    before = api.model_info("alice/model").sha
    made = kept(xet)
    api.create_repo("alice/other")
    for repo, revision, status in (
        ("alice/model", "main", 200),
        ("alice/model", before, 404),
        ("alice/other", "main", 404),
    ):
        token = Xet(endpoint, repo).token("read", str(revision)).json()
        headers = {"Authorization": f"Bearer {token['accessToken']}"}
        answer = CLIENT.get(f"{token['casUrl']}/v1/reconstructions/{made.name}", headers=headers)
        assert answer.status_code == status, repo
    assert xet.token("read", "none").headers["X-Error-Code"] == "RevisionNotFound"


def test_who_gets_tokens_is_who_may_read_and_write(root: Path) -> None:
    tokens = {
        "alice": {"name": "alice", "role": "write"},
        "reader": {"name": "alice", "role": "read"},
        "bob": {"name": "bob", "role": "write"},
    }
    with running(root, tokens=tokens) as endpoint:
        alice = HfApi(endpoint=endpoint, token="alice")
        for repo in ("public", "private", "gated"):
            alice.create_repo(f"alice/{repo}", private=repo == "private")
        alice.update_repo_settings("alice/gated", gated="auto")

        def status(repo: str, operation: str, token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return Xet(endpoint, f"alice/{repo}").token(operation, **headers).status_code

        told = {
            (repo, operation): [status(repo, operation, token) for token in ("alice", "reader", "bob", "")]
            for repo in ("public", "private", "gated")
            for operation in ("read", "write")
        }
    assert told == {
        ("public", "read"): [200, 200, 200, 200],
        ("public", "write"): [200, 403, 403, 401],
        ("private", "read"): [200, 200, 404, 404],
        ("private", "write"): [200, 403, 404, 404],
        ("gated", "read"): [200, 200, 403, told["gated", "read"][3]],
        ("gated", "write"): [200, 403, 403, 401],
    }
    assert told["gated", "read"][3] in {401, 403}


def test_a_byte_that_flips_on_the_disk_is_not_served(endpoint: str, xet: Xet, root: Path) -> None:
    made = kept(xet)
    (path,) = (root / "objects" / "xet" / "xorbs").glob("*/*")
    content = bytearray(path.read_bytes())
    content[30] ^= 1
    path.write_bytes(content)
    (infos,) = xet.plan(made.name).json()["fetch_info"].values()
    answer = CLIENT.get(infos[0]["url"], headers={"Range": f"bytes=0-{infos[0]['url_range']['end']}"})
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "DamagedXorb")
    more = Made([*made.terms, *made.terms], made.xorbs)
    assert xet.post_shard(more.shard()).status_code == 404, "nor does anything new come to be made of it"
