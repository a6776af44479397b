"""Whatever a client sends, the Hub answers what is wrong with it, soon, and goes on serving others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import BadRequestError

from tests.hub_server.conftest import LFS

Push = Callable[..., Any]
VALUES: list[Any] = [
    None, True, -1, 0, 10**30, 1.5, float("inf"), "", "x" * 100_000, "\x00", "../..", "a/b/c", "9" * 5000, "é" * 300,
    [], [None], [[]], [{}], {}, {"a": 1}, "refs/heads/main", "%2e%2e%2f", "<script>",
]  # fmt: skip
FIELDS = {
    ("POST", "/api/repos/create"): ("name", "organization", "type", "visibility", "private"),
    ("POST", "/api/validate-yaml"): ("content", "repoType"),
    ("POST", "/api/models/alice/model/preupload/main"): ("files",),
    ("POST", "/api/models/alice/model/tag/main"): ("tag", "message"),
    ("POST", "/api/models/alice/model/discussions/1/status"): ("status", "comment"),
    ("POST", "/alice/model.git/info/lfs/objects/batch"): ("operation", "objects", "hash_algo"),
    ("POST", "/alice/model.git/info/lfs/objects/verify"): ("oid", "size"),
}
GOOD: dict[str, Any] = {
    "name": "new", "files": [], "message": "m", "tag": "v1", "comment": "c", "status": "open", "operation": "upload",
    "objects": [], "oid": "0" * 64, "size": 1, "content": "",
}  # fmt: skip
CLIENT = httpx2.Client(timeout=20, headers=LFS)


def answered(endpoint: str, method: str, path: str, body: Any) -> int:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    status = CLIENT.request(method, f"{endpoint}{path}", content=content).status_code
    assert status < 500, (method, path, content[:200])
    return status


@pytest.mark.parametrize(("method", "path"), FIELDS, ids=lambda value: value.replace("/api/models/alice/model", ""))
def test_a_field_of_any_type_is_answered(endpoint: str, repo: str, api: HfApi, method: str, path: str) -> None:
    api.create_pull_request(repo, title="A question")
    for field in FIELDS[method, path]:
        for value in VALUES:
            answered(endpoint, method, path, GOOD | {field: value})
    for body in (b"", b"{", b"[]", b"3", b'"x"', b"[" * 100_000, b"\xff\xfe", b'{"name": "\\ud800"}'):
        answered(endpoint, method, path, body)


@pytest.mark.parametrize("name", ["%2e%2e", "%00", "x" * 5000], ids=["above", "nul", "long"])
def test_any_name_in_an_address_is_answered(endpoint: str, repo: str, root: Any, name: str) -> None:
    for path in (
        f"/api/models/{name}/x",
        f"/api/models/x/{name}",
        f"/api/models/{repo}/revision/{name}",
        f"/api/models/{repo}/tree/main/{name}",
        f"/api/models/{repo}/commits/{name}",
        f"/api/models/{repo}/discussions/{name}",
        f"/api/models/{repo}/discussions?p={name}",
        f"/api/models/{repo}/commits/main?limit={name}&cursor={name}",
        f"/{repo}/resolve/{name}/x",
        f"/{repo}/resolve/main/{name}",
        f"/{repo}/tree/{name}",
        f"/{name}/x",
        f"/x/{name}",
    ):
        answered(endpoint, "GET", path, b"")
    answered(endpoint, "POST", f"/api/models/{repo}/branch/{name}", {})
    answered(endpoint, "DELETE", f"/api/models/{repo}/branch/{name}", {})


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "metadata",
    [
        BOMB,
        "a: &a [*a]\n",
        "a: " + "[" * 5000 + "]" * 5000,
    ],
    ids=["bomb", "itself", "deep"],
)
def test_metadata_made_to_explode_does_not(endpoint: str, repo: str, metadata: str) -> None:
    card = f"---\n{metadata}---\n# Card\n"
    started = time.monotonic()
    answered(endpoint, "POST", "/api/validate-yaml", {"content": card, "repoType": "model"})
    lines = [
        {"key": "header", "value": {"summary": "s"}},
        {"key": "file", "value": {"path": "README.md", "content": card, "encoding": "utf-8"}},
    ]
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    assert answered(endpoint, "POST", f"/api/models/{repo}/commit/main", body) in {200, 400}
    for path in (f"/api/models/{repo}", f"/{repo}"):
        assert answered(endpoint, "GET", path, b"") == 200
    assert time.monotonic() - started < 10


def test_a_branch_or_tag_cannot_take_the_name_of_a_commit(api: HfApi, repo: str, push: Push, endpoint: str) -> None:
    first = push({"a.txt": b"a"}).oid
    push({"a.txt": b"b"})
    for make in (
        lambda name: api.create_branch(repo, branch=name),
        lambda name: api.create_tag(repo, tag=name),
    ):
        with pytest.raises(BadRequestError):
            make(first)
    assert api.model_info(repo, revision=first).sha == first


@pytest.mark.parametrize("owner", ["api", "datasets"])
def test_nobody_is_called_like_a_part_of_the_hub(endpoint: str, owner: str) -> None:
    body = {"name": "model", "organization": owner}
    assert answered(endpoint, "POST", "/api/repos/create", body) == 400


def test_an_answer_does_not_repeat_a_long_request(endpoint: str) -> None:
    answer = httpx2.post(f"{endpoint}/api/repos/create", json={"name": "x", "type": "y" * 1_000_000})
    assert (answer.status_code, len(answer.content) < 2000, len(answer.headers["X-Error-Message"]) < 2000) == (
        400,
        True,
        True,
    )
