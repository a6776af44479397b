"""Bytes arrive whole or not at all, and leave as they came."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from tests.hub_server.conftest import LFS, PLAIN

Push = Callable[..., Any]
WEIGHTS = bytes(range(256)) * 8192  # 2 MiB


def batch(endpoint: str, repo: str, content: bytes, size: int | None = None) -> dict[str, Any]:
    oid = hashlib.sha256(content).hexdigest()
    wanted = {"operation": "upload", "objects": [{"oid": oid, "size": len(content) if size is None else size}]}
    answer = httpx2.post(f"{endpoint}/{repo}.git/info/lfs/objects/batch", json=wanted, headers=LFS)
    assert answer.status_code == 200, answer.text
    return answer.json()["objects"][0]


def test_small_and_large_files_come_back_as_they_went(api: HfApi, repo: str, push: Push) -> None:
    files = {"a.txt": "grün\n".encode(), "empty.txt": b"", "dir/m.safetensors": WEIGHTS, "ü ?#%.bin": b"\0" * 10}
    push(files)
    folder = Path(api.snapshot_download(repo))
    assert {path: (folder / path).read_bytes() for path in files} == files


def test_a_file_is_found_under_every_name_of_its_revision(api: HfApi, repo: str, push: Push) -> None:
    head = push({"a.txt": b"a", "m.bin": b"\0"}).oid
    api.create_tag(repo, tag="v1")
    api.create_branch(repo, branch="dev/x")
    api.create_pull_request(repo, title="Nothing")
    for revision in ("main", "v1", "refs/pr/1", "dev/x", "refs/heads/main", head, head[:12]):
        assert Path(api.hf_hub_download(repo, "a.txt", revision=revision)).read_bytes() == b"a"
        assert Path(api.hf_hub_download(repo, "m.bin", revision=revision)).read_bytes() == b"\0"


def test_what_is_not_there_is_told_with_the_commit_that_lacks_it(endpoint: str, api: HfApi, repo: str) -> None:
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download(repo, "none.txt")
    missing = httpx2.head(f"{endpoint}/{repo}/resolve/main/none.txt")
    assert missing.headers["X-Error-Code"] == "EntryNotFound"
    assert missing.headers["X-Repo-Commit"] == api.model_info(repo).sha
    unknown = httpx2.head(f"{endpoint}/{repo}/resolve/none/.gitattributes")
    assert (unknown.status_code, unknown.headers["X-Error-Code"]) == (404, "RevisionNotFound")


def test_head_tells_size_hash_and_commit_without_the_bytes(endpoint: str, repo: str, push: Push) -> None:
    made = push({"a.txt": b"hello", "m.safetensors": WEIGHTS})
    small = httpx2.head(f"{endpoint}/{repo}/resolve/main/a.txt", headers=PLAIN, follow_redirects=True)
    assert (small.status_code, small.headers["Content-Length"], small.content) == (200, "5", b"")
    assert small.headers["ETag"] == f'"{hashlib.sha1(b"blob 5" + bytes(1) + b"hello").hexdigest()}"'  # noqa: S324
    large = httpx2.head(f"{endpoint}/{repo}/resolve/main/m.safetensors")
    assert (large.status_code, large.headers["X-Linked-Size"]) == (302, str(len(WEIGHTS)))
    assert large.headers["X-Linked-ETag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    assert small.headers["X-Repo-Commit"] == large.headers["X-Repo-Commit"] == made.oid


def test_large_files_come_from_another_origin_at_an_address_nobody_can_guess(
    endpoint: str, repo: str, push: Push
) -> None:
    push({"m.safetensors": WEIGHTS})
    address = httpx2.head(f"{endpoint}/{repo}/resolve/main/m.safetensors").headers["Location"]
    assert urlsplit(address).netloc != urlsplit(endpoint).netloc
    assert httpx2.get(address).content == WEIGHTS

    oid = hashlib.sha256(WEIGHTS).hexdigest()
    origin = f"http://{urlsplit(address).netloc}"
    for guess in (
        f"{origin}/objects/{oid}",
        f"{origin}/objects/{'0' * 32}/{oid}",
        f"{endpoint}{urlsplit(address).path}",
    ):
        assert httpx2.get(guess).status_code in {403, 404}


def test_ranges_are_served_of_small_and_large_files(endpoint: str, repo: str, push: Push) -> None:
    push({"a.txt": b"0123456789", "m.bin": b"\0123456789"})
    for path, content in {"a.txt": b"0123456789", "m.bin": b"\0123456789"}.items():
        url = f"{endpoint}/{repo}/resolve/main/{path}"
        part = httpx2.get(url, headers=PLAIN | {"Range": "bytes=3-5"}, follow_redirects=True)
        assert (part.status_code, part.content) == (206, content[3:6])
        assert part.headers["Content-Range"] == f"bytes 3-5/{len(content)}"
        rest = httpx2.get(url, headers=PLAIN | {"Range": "bytes=7-"}, follow_redirects=True)
        assert (rest.status_code, rest.content) == (206, content[7:])
        beyond = httpx2.get(url, headers=PLAIN | {"Range": "bytes=99-"}, follow_redirects=True)
        assert beyond.status_code == 416


def test_bytes_with_another_hash_are_refused(endpoint: str, repo: str) -> None:
    address = batch(endpoint, repo, WEIGHTS)["actions"]["upload"]["href"]
    flipped = b"\xff" + WEIGHTS[1:]
    for wrong in (flipped, WEIGHTS[:-1], b""):
        answer = httpx2.put(address, content=wrong)
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (400, "BadRequest")
    assert "actions" in batch(endpoint, repo, WEIGHTS), "what was refused must not count as uploaded"
    assert httpx2.put(address, content=WEIGHTS).status_code == 200
    assert "actions" not in batch(endpoint, repo, WEIGHTS)


@pytest.mark.parametrize(("size", "status"), [(7, 413), (len(WEIGHTS) + 1, 400)])
def test_the_right_bytes_under_a_wrong_size_are_refused(endpoint: str, repo: str, size: int, status: int) -> None:
    address = batch(endpoint, repo, WEIGHTS, size=size)["actions"]["upload"]["href"]
    assert httpx2.put(address, content=WEIGHTS).status_code == status


def test_an_upload_needs_an_address_that_the_hub_gave(endpoint: str, repo: str) -> None:
    address = batch(endpoint, repo, WEIGHTS)["actions"]["upload"]["href"]
    other = hashlib.sha256(b"other").hexdigest()
    forged = address.replace(hashlib.sha256(WEIGHTS).hexdigest(), other)
    assert httpx2.put(forged, content=b"other").status_code == 403


def test_an_unknown_preupload_revision_is_told(api: HfApi, repo: str, push: Push) -> None:
    with pytest.raises(HfHubHTTPError):
        push({"a.txt": b"a"}, revision="none")
