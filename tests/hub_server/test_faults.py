"""Every fault happens on the wire as its name says."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from localhub.faults import Faults
from localhub.server import running
from tests.hub_server.conftest import LARGE, LFS, PLAIN, SMALL

FILE = "/alice/model/resolve/main/a.txt"
CACHED = "/api/resolve-cache/models/alice/model/[0-9a-f]+/a.txt"
INFO = "/api/models/alice/model"
REPOS = "/api/repos/create"


def upload(endpoint: str, content: bytes) -> str:
    """Ask where to send a large file."""
    wanted = {
        "operation": "upload",
        "objects": [{"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}],
    }
    answer = httpx2.post(f"{endpoint}/alice/model.git/info/lfs/objects/batch", json=wanted, headers=LFS)
    return str(answer.json()["objects"][0]["actions"]["upload"]["href"])


def small(endpoint: str, **headers: str) -> httpx2.Response:
    """Get the small file from where the Hub says that it is."""
    return httpx2.get(endpoint + FILE, headers=PLAIN | headers, follow_redirects=True)


def raw(address: str, method: str = "GET", body: bytes = b"", length: int | None = None) -> tuple[bytes, str]:
    """Send a request byte by byte and return what came back, and whether FIN or RST ended it."""
    url = urlsplit(address)
    length = len(body) if length is None else length
    head = f"{method} {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {length}\r\n\r\n"
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=5) as client:
        client.sendall(head.encode() + body)
        received = b""
        try:
            while piece := client.recv(1 << 16):
                received += piece
        except ConnectionResetError:
            return received, "RST"
        return received, "FIN"


def create(endpoint: str, name: str, **options: Any) -> httpx2.Response:
    return httpx2.post(f"{endpoint}{REPOS}", json={"name": name, "organization": "alice"}, **options)


def exists(endpoint: str, name: str) -> bool:
    return httpx2.get(f"{endpoint}/api/models/alice/{name}").status_code == 200


def seconds(since: float) -> float:
    return time.monotonic() - since


# Answers that the Hub did not give.


def test_a_status_comes_with_headers_and_json_and_without_work(failing: str, faults: Faults) -> None:
    faults.rules = [f"POST {REPOS} status=429 header=Retry-After:3"]
    answer = create(failing, "new")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert answer.json() == {"error": "Too Many Requests"}
    assert not exists(failing, "new")


def test_a_status_can_come_with_a_page_or_without_a_body(failing: str, faults: Faults) -> None:
    faults.rules = [f"GET {FILE} status=502 body='<h1>Bad Gateway</h1>'", f"GET {FILE} status=304"]
    page, empty = httpx2.get(failing + FILE), httpx2.get(failing + FILE)
    assert (page.text, page.headers["content-type"]) == ("<h1>Bad Gateway</h1>", "text/html; charset=utf-8")
    assert (empty.status_code, empty.content) == (304, b"")


def test_a_moved_branch_is_told_as_the_hub_tells_it(failing: str, faults: Faults) -> None:
    wrong = {"key": "header", "value": {"summary": "Try", "parentCommit": "0" * 40}}
    truth = httpx2.post(f"{failing}{INFO}/commit/main", json=wrong)
    faults.rules = [f"POST {INFO}/commit/ moved"]
    told = httpx2.post(f"{failing}{INFO}/commit/main", json={"key": "header", "value": {"summary": "Try"}})
    assert told.status_code == truth.status_code == 412
    assert told.json() == truth.json()
    assert told.headers["x-error-message"] == truth.headers["x-error-message"]


def test_an_expired_address_is_refused_as_by_s3_and_nothing_is_kept(failing: str, faults: Faults) -> None:
    faults.rules = ["PUT /uploads/ expired"]
    address = upload(failing, b"new")
    answer = httpx2.put(address, content=b"new")
    assert answer.status_code == 403
    assert "<Message>Request has expired</Message>" in answer.text
    assert upload(failing, b"new"), "nothing was kept"


def test_short_addresses_are_refused_and_the_next_ones_are_not(failing: str, faults: Faults) -> None:
    faults.rules = ["POST /objects/batch short", "GET /resolve/main/m.bin short"]
    assert httpx2.put(upload(failing, b"new"), content=b"new").status_code == 403
    assert httpx2.put(upload(failing, b"new"), content=b"new").status_code == 200
    file = f"{failing}/alice/model/resolve/main/m.bin"
    assert [httpx2.get(file, follow_redirects=True).status_code for _ in range(2)] == [403, 200]


def test_a_short_xet_token_has_expired_and_is_no_token(failing: str, faults: Faults) -> None:
    path = f"{INFO}/xet-write-token/main"
    faults.rules = [f"GET {path} short"]
    short, usual = (httpx2.get(failing + path) for _ in range(2))
    assert short.json()["exp"] < time.time() < usual.json()["exp"]
    assert int(short.headers["x-xet-token-expiration"]) < time.time()
    for token, status in ((short.json()["accessToken"], 401), (short.headers["x-xet-access-token"], 401)):
        headers = {"Authorization": f"Bearer {token}"}
        address = f"{usual.json()['casUrl']}/v1/xorbs/default/{'0' * 64}"
        assert httpx2.post(address, content=b"", headers=headers).status_code == status
    assert short.json()["casUrl"] == usual.json()["casUrl"]


# Connections that end.


@pytest.mark.parametrize(("kind", "end"), [("drop", "FIN"), ("reset", "RST"), ("lost", "FIN")])
def test_a_request_can_be_ended_without_an_answer(failing: str, faults: Faults, kind: str, end: str) -> None:
    faults.rules = [f"POST {REPOS} {kind}"]
    assert raw(failing + REPOS, "POST", b'{"name": "new", "organization": "alice"}') == (b"", end)
    assert exists(failing, "new") == (kind == "lost")


@pytest.mark.parametrize(("kind", "end"), [("cut-answer", "FIN"), ("reset-answer", "RST")])
@pytest.mark.parametrize(("value", "sent"), [("=5", 5), ("=9999", len(SMALL) - 1)])
def test_an_answer_can_be_ended_in_its_body(
    failing: str, faults: Faults, kind: str, end: str, value: str, sent: int
) -> None:
    faults.rules = [f"GET {CACHED} {kind}{value}"]
    received, ended = raw(failing + httpx2.head(failing + FILE).headers["Location"])
    head, _, body = received.partition(b"\r\n\r\n")
    assert (body, ended) == (SMALL[:sent], end)
    assert f"content-length: {len(SMALL)}".encode() in head


def test_an_answer_without_a_body_does_not_come(failing: str, faults: Faults) -> None:
    faults.rules = ["* /resolve/ cut-answer times=2"]
    assert raw(failing + FILE, "HEAD")[0] == b""
    assert raw(f"{failing}/alice/model/resolve/main/m.bin")[0] == b""


# Time.


def test_a_hanging_request_is_not_worked_on_and_one_that_hangs_after_is(failing: str, faults: Faults) -> None:
    for kind in ("hang", "hang-after"):
        faults.rules = [f"POST {REPOS} {kind}=0.3"]
        started = time.monotonic()
        with pytest.raises(httpx2.RemoteProtocolError):
            create(failing, kind)
        assert 0.3 <= seconds(started) < 2
        assert exists(failing, kind) == (kind == "hang-after")


def test_a_slow_answer_and_a_slow_request_take_their_time(failing: str, faults: Faults) -> None:
    address = upload(failing, LARGE + b"more")
    faults.rules = [f"GET {CACHED} slow=500", "PUT /uploads/ slow=2000000"]
    started = time.monotonic()
    assert small(failing).content == SMALL
    assert 0.45 <= seconds(started) < 2
    started = time.monotonic()
    assert httpx2.put(address, content=LARGE + b"more").status_code == 200
    assert 0.45 <= seconds(started) < 2


@pytest.mark.parametrize("kind", ["hang", "slow=1"])
def test_the_server_stops_while_a_fault_still_waits(root: Path, kind: str) -> None:
    faults = Faults([f"POST {REPOS} {kind}"])
    with running(root, faults=faults) as endpoint:

        def wait() -> None:
            with suppress(httpx2.TransportError):
                create(endpoint, "new", timeout=60)

        thread = threading.Thread(target=wait)
        thread.start()
        while not faults.seen:
            time.sleep(0.01)
        time.sleep(0.1)
        started = time.monotonic()
    assert seconds(started) < 1.9  # seconds; after 5 the server would give up waiting
    thread.join(1)
    assert not thread.is_alive()


# Answers that are wrong.


def test_one_bit_of_the_body_is_flipped(failing: str, faults: Faults) -> None:
    faults.rules = [f"GET {CACHED} flip=3", f"GET {CACHED} flip", f"GET {CACHED} flip=999999"]
    for place in (3, (len(SMALL) - 1) // 2, len(SMALL) - 1):
        content = small(failing).content
        assert [number for number, byte in enumerate(content) if byte != SMALL[number]] == [place]
        assert len(content) == len(SMALL)


def test_a_range_is_ignored(failing: str, faults: Faults) -> None:
    faults.rules = [f"GET {CACHED} ignore-range"]
    whole, part = (small(failing, Range="bytes=3-5") for _ in range(2))
    assert (whole.status_code, whole.content) == (200, SMALL)
    assert (part.status_code, part.content) == (206, SMALL[3:6])


def test_a_stale_answer_is_the_one_before_the_last_change(failing: str, faults: Faults) -> None:
    api = HfApi(endpoint=failing, token=False)
    faults.rules = ["GET|HEAD (/revision/|/refs|/resolve/) stale skip=3 times=4"]

    def told() -> list[object]:
        refs = {ref.name: ref.target_commit for ref in api.list_repo_refs("alice/model").branches}
        file = httpx2.head(failing + FILE).headers["x-repo-commit"]
        return [api.model_info("alice/model", revision="main").sha, refs["main"], file]

    before = told()
    oid = api.create_commit("alice/model", [CommitOperationAdd("b", b"")], commit_message="Change").oid
    assert told() == before
    assert httpx2.head(failing + FILE).headers["x-repo-commit"] == before[0]
    assert told() == [oid] * 3
