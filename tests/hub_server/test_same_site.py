"""A page of another site reads what is public and writes nothing, no address takes more, and no key is shown."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from tests.hub_server.conftest import LFS

MIB = 1 << 20
ELSEWHERE = {"Origin": "https://pages.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
CREATE = {"name": "model", "organization": "alice", "private": True}
WATCH = """
import json, os, sys
from pathlib import Path
seen = []
def hear(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith("storage.key"):
        seen.append(os.stat(arguments[0]).st_mode & 0o777)
    if event == "os.chmod" and "storage.key" in str(arguments[0]):
        seen.append(arguments[1])
sys.addaudithook(hear)
from localhub.store import Store
Store(Path(sys.argv[1]))
print(json.dumps(seen))
"""


@pytest.mark.parametrize(
    "page",
    [
        {"Origin": "https://evil.example", "Content-Type": "text/plain"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(endpoint: str, api: HfApi, page: dict[str, str]) -> None:
    answer = httpx2.post(f"{endpoint}/api/repos/create", content=json.dumps(CREATE), headers=page)
    assert answer.status_code == 403
    assert "another site" in answer.json()["error"]
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("alice/model")


def test_a_page_of_the_hub_itself_may(endpoint: str) -> None:
    page = {"Origin": endpoint, "Sec-Fetch-Site": "same-origin"}
    assert httpx2.post(f"{endpoint}/api/repos/create", json=CREATE, headers=page).status_code == 200


def test_a_page_of_another_site_reads_what_is_public(endpoint: str, api: HfApi, repo: str) -> None:
    content = bytes(range(256)) * 40
    for name in ("onnx/model.onnx", "config.json"):  # one that lies on the storage, and one that does not
        api.upload_file(path_or_fileobj=content if "onnx" in name else b"{}", path_in_repo=name, repo_id=repo)
    asked = ELSEWHERE | {"Accept-Encoding": "identity", "Range": "bytes=0-1"}
    for name in ("onnx/model.onnx", "config.json"):
        page = f"{endpoint}/{repo}/resolve/main/{name}"
        with httpx2.Client(follow_redirects=True, headers=asked) as client:
            found, head = client.get(page), client.head(page)
        assert found.content == (content[:2] if "onnx" in name else b"{}")
        assert found.status_code == head.status_code == 206
        for answer in (*found.history, found, head):
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers
            assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
            shown = answer.headers["access-control-expose-headers"]
            assert {"ETag", "X-Repo-Commit", "X-Linked-Size", "Content-Range"} <= set(shown.split(", "))


def test_a_page_of_another_site_is_told_that_it_may_read(endpoint: str, repo: str) -> None:
    asked = ELSEWHERE | {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,range",
    }
    answer = httpx2.request("OPTIONS", f"{endpoint}/{repo}/resolve/main/config.json", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD"
    assert {"Authorization", "Range"} <= set(answer.headers["access-control-allow-headers"].split(", "))


@pytest.mark.parametrize("page", [ELSEWHERE, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}])
def test_a_page_of_another_site_is_nobody_where_everyone_is_the_owner(
    endpoint: str, api: HfApi, page: dict[str, str]
) -> None:
    private = api.create_repo("alice/secret", private=True).repo_id
    address = f"{endpoint}/{private}/resolve/main/.gitattributes"
    assert httpx2.get(address).status_code == 307
    assert httpx2.get(address, headers=page).status_code in {401, 404}
    assert (
        httpx2.get(address, headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).status_code == 307
    )


def test_what_the_hub_gave_its_own_page_is_not_kept_for_another(endpoint: str, repo: str) -> None:
    answer = httpx2.get(f"{endpoint}/{repo}/resolve/main/.gitattributes")
    assert {"Origin", "Sec-Fetch-Site"} <= set(answer.headers["vary"].split(", "))
    assert "access-control-allow-origin" not in answer.headers


def test_a_name_that_was_made_to_point_here_reads_nothing(endpoint: str, repo: str) -> None:
    page, port = f"{endpoint}/{repo}/resolve/main/.gitattributes", endpoint.rpartition(":")[2]
    for name in ("127.0.0.1", "localhost", "[::1]"):
        assert httpx2.get(page, headers={"Host": f"{name}:{port}"}).status_code == 307
    for name in ("rebound.evil.example", "127.0.0.1.evil.example", "localhost@evil.example", ""):
        assert httpx2.get(page, headers={"Host": f"{name}:{port}"}).status_code == 400


def test_the_storage_is_behind_the_same_door(endpoint: str, repo: str) -> None:
    whole = announced(endpoint, b"x")
    assert httpx2.put(whole, content=b"x", headers={"Origin": "https://evil.example"}).status_code == 403
    assert httpx2.put(whole, content=b"x", headers={"Host": "rebound.evil.example"}).status_code == 400
    assert httpx2.put(whole, content=b"x").status_code == 200


def announced(endpoint: str, content: bytes) -> str:
    """Announce a large file, and return where it is to be sent."""
    wanted = {"oid": sha256(content).hexdigest(), "size": len(content)}
    body = {"operation": "upload", "objects": [wanted]}
    answer = httpx2.post(f"{endpoint}/alice/model.git/info/lfs/objects/batch", json=body, headers=LFS)
    return str(answer.json()["objects"][0]["actions"]["upload"]["href"])


def test_an_upload_stops_at_the_size_it_was_announced_with(endpoint: str, repo: str, root: Path) -> None:
    address = announced(endpoint, b"x")
    before, most = bytes_held(root), 0

    def body() -> Iterator[bytes]:
        nonlocal most
        for _ in range(64):
            yield bytes(MIB)
            most = max(most, bytes_held(root))

    assert refused(address, body()) == 413
    assert max(most, bytes_held(root)) == before


def refused(address: str, content: bytes | Iterator[bytes]) -> int:
    """Send what is too much; the answer may come while the rest is on its way."""
    try:
        return httpx2.put(address, content=content).status_code
    except httpx2.TransportError:
        return 413


def bytes_held(root: Path) -> int:
    """Return the bytes of everything that was sent, whole or not."""
    return sum(path.stat().st_size for path in (root / "objects").rglob("*") if path.is_file())


def test_the_key_that_signs_is_its_owners_alone_from_its_first_byte(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WATCH, tmp_path], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert seen
    assert set(seen) == {0o600}
