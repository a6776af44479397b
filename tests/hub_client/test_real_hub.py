"""The facts of REAL_HUB.md, held against the embedded Hub; and one release to a real one, where somebody names it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from localhub.server import running
from localhub.web import Limits
from pipeline.errors import CannotHereError
from pipeline.hub.client import Hub
from pipeline.hub.destination import Destination
from pipeline.hub.release_files import ReleaseFolder

ROOT = Path(__file__).parents[2]
REPO = "alice/model"
PLAIN = {"Accept-Encoding": "identity"}
TEXT = b'{"_class_name": "TinyPipeline"}\n' * 100
TOKENS = {
    "alice": {"name": "alice", "role": "write"},
    "bob": {"name": "bob", "role": "fineGrained", "fineGrained": {"global": ["discussion.write"]}},
}
REAL = os.environ.get("PUBLISH_TEST_HUB")


@contextmanager
def hub(root: Path) -> Iterator[str]:
    """Serve a Hub with one repository of a small file and a large one."""
    with running(root, tokens=TOKENS) as address:
        api = Hub(address, token="alice").api
        api.create_repo(REPO)
        files = {"model_index.json": TEXT, "m.bin": bytes(1000)}
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_commit(REPO, operations, commit_message="Two files")
        yield address


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with hub(tmp_path_factory.mktemp("real") / "hub") as address:
        yield address


def read(endpoint: str, name: str) -> bytes:
    """Read a file as the pipeline reads it."""
    return b"".join(Hub(endpoint, token="alice").file(REPO, "main", name, len(TEXT)).pieces(0, 1 << 20, whole=True))


def test_every_fact_names_a_test_that_is_there() -> None:
    rows = [line for line in (Path(__file__).parent / "REAL_HUB.md").read_text().splitlines() if line.startswith("| ")]
    for row in rows[2:]:
        path, name = re.findall(r"`(tests/\S+\.py)::(\w+)` \|$", row)[0]
        assert f"def {name}(" in (ROOT / path).read_text(), row


def test_a_small_file_is_somewhere_else_on_the_same_origin(endpoint: str) -> None:
    answer = httpx2.head(f"{endpoint}/{REPO}/resolve/main/model_index.json")
    commit = answer.headers["X-Repo-Commit"]
    place = f"/api/resolve-cache/models/{REPO}/{commit}/model_index.json?"
    assert (answer.status_code, answer.headers["Location"].startswith(place)) == (307, True)
    assert read(endpoint, "model_index.json") == TEXT


def test_text_comes_packed_whole_and_without_a_length_where_gzip_is_taken(endpoint: str) -> None:
    url = f"{endpoint}/{REPO}/resolve/main/model_index.json"
    asked = {"Accept-Encoding": "gzip", "Range": "bytes=0-9"}
    answer = httpx2.get(url, headers=asked, follow_redirects=True)
    assert (answer.status_code, answer.content) == (200, TEXT)
    assert answer.headers["ETag"].startswith("W/")
    assert "Content-Length" not in answer.headers
    assert httpx2.get(url, headers=asked | PLAIN, follow_redirects=True).content == TEXT[:10]


def test_addresses_of_large_files_expire(endpoint: str, tmp_path: Path) -> None:
    address = httpx2.head(f"{endpoint}/{REPO}/resolve/main/m.bin").headers["Location"]
    deadline = int(address.split("/objects/")[1].split("/")[1])
    signed_later = address.replace(str(deadline), str(deadline + 9))
    assert (httpx2.get(address).status_code, httpx2.get(signed_later).status_code) == (200, 403)
    with hub(tmp_path / "hub"):
        pass
    with running(tmp_path / "hub", limits=Limits(token_seconds=-1)) as late:
        answer = httpx2.get(httpx2.head(f"{late}/{REPO}/resolve/main/m.bin").headers["Location"])
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (403, "ExpiredAddress")


def test_a_batch_without_its_media_type_is_not_acceptable(endpoint: str) -> None:
    url, headers = f"{endpoint}/{REPO}.git/info/lfs/objects/batch", {"Authorization": "Bearer alice"}
    asked = {"operation": "upload", "objects": []}
    assert httpx2.post(url, json=asked, headers=headers).status_code == 406


def test_a_bad_card_is_refused_at_the_commit(endpoint: str) -> None:
    lines = '{"key": "header", "value": {"summary": "A card"}}\n{"key": "file", "value": {"path": "README.md", '
    lines += '"encoding": "utf-8", "content": "---\\nlicense: none-such\\n---\\n"}}'
    url, headers = f"{endpoint}/api/models/{REPO}/commit/main", {"Authorization": "Bearer alice"}
    answer = httpx2.post(url, content=lines, headers=headers)
    assert (answer.status_code, "README.md" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize("xet", [True, False])
def test_who_may_only_open_pull_requests_stages_and_cannot_promote(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xet: bool
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", not xet or "HF_HUB_DISABLE_XET" in os.environ)
    (tmp_path / "more.bin").write_bytes(os.urandom(1000))
    place, build = Destination(Hub(endpoint, token="bob"), REPO), ReleaseFolder.of(tmp_path)
    refs = place.refs()
    assert refs is not None
    staged = place.stage(build, refs.head, f"More {xet}", lambda *_: None)
    with pytest.raises(CannotHereError):
        place.promote(build, refs.head, "More", staged.commit)
    for path in ("preupload/main", "xet-write-token/main"):
        method = "GET" if "token" in path else "POST"
        url = f"{endpoint}/api/models/{REPO}/{path}"
        assert httpx2.request(method, url, headers={"Authorization": "Bearer bob"}).status_code == 403


@pytest.mark.skipif(not REAL, reason="PUBLISH_TEST_HUB names no real Hub, such as https://hub-ci.huggingface.co")
def test_a_whole_release_goes_to_a_real_hub(tmp_path: Path) -> None:
    """Leaves one small repository, named by the time, with the token's owner; whoever runs this removes it."""
    digits, name = tmp_path / "digits", HfApi(endpoint=REAL).whoami()["name"]
    shutil.copytree(ROOT / "recipes" / "digits", digits)
    text = re.sub(r"repo: \S+\n  revision: \S+", "path: source", (digits / "recipe.yaml").read_text())
    place = f"namespace: {name}\n  name: quantpress-test-{int(time.time())}-{{target}}\n  private: true"
    (digits / "recipe.yaml").write_text(re.sub(r"namespace: \S+", place, text))
    run = [sys.executable, "-m", "pipeline.cli", "--home", str(tmp_path / "home"), "run", str(digits / "recipe.yaml")]
    done = subprocess.run(
        [*run, "--target", "quanto-int8"],
        env={**os.environ, "HF_ENDPOINT": str(REAL)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
