"""What was acknowledged is still there afterwards, and stopping is clean."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from localhub.errors import LocalHubError
from localhub.server import running
from tests.hub_server.conftest import LFS

SERVE = """
import sys
from pathlib import Path
from localhub.server import serve
serve(Path(sys.argv[1]), int(sys.argv[2]))
"""


def free_port() -> int:
    """Return a port that nobody has, and that nobody is given who asks for any: those are higher (32768 on Linux)."""
    while True:
        port = random.randrange(15000, 30000)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue


@contextmanager
def served(root: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run ``serve`` in a process of its own."""
    port = free_port()
    command = [sys.executable, "-c", SERVE, str(root), str(port)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            for _ in range(1000):
                try:
                    httpx2.get(f"http://127.0.0.1:{port}/api/agent-harnesses")
                    break
                except httpx2.TransportError:
                    assert process.poll() is None, process.stderr.read() if process.stderr else ""
                    time.sleep(0.02)
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()


def test_everything_survives_a_restart(root: Path) -> None:
    with running(root) as endpoint:
        api = HfApi(endpoint=endpoint, token=False)
        api.create_repo("alice/model")
        operations = [CommitOperationAdd("a.txt", b"a"), CommitOperationAdd("m.bin", b"\0weights")]
        api.create_commit("alice/model", operations, commit_message="Upload")
        api.create_tag("alice/model", tag="v1")
        more = [CommitOperationAdd("b.txt", b"b")]
        api.create_commit("alice/model", more, commit_message="Add b", create_pr=True)
        refs, commits = (
            api.list_repo_refs("alice/model", include_pull_requests=True),
            api.list_repo_commits("alice/model"),
        )
    with running(root) as endpoint:
        again = HfApi(endpoint=endpoint, token=False)
        assert again.list_repo_refs("alice/model", include_pull_requests=True) == refs
        assert again.list_repo_commits("alice/model") == commits
        assert Path(again.hf_hub_download("alice/model", "m.bin", revision="v1")).read_bytes() == b"\0weights"
        assert "b.txt" in again.list_repo_files("alice/model", revision="refs/pr/1")


def test_a_killed_server_has_kept_every_commit_it_acknowledged(root: Path) -> None:
    acknowledged = []
    with served(root) as (endpoint, process), httpx2.Client() as client:
        HfApi(endpoint=endpoint, token=False).create_repo("alice/model")
        with suppress(httpx2.TransportError):
            for number in range(10_000):  # without the client's own retries, which wait for half a minute
                file = {"key": "file", "value": {"path": f"{number}.txt", "content": str(number)}}
                body = json.dumps({"key": "header", "value": {"summary": "Add one"}}) + "\n" + json.dumps(file)
                answer = client.post(f"{endpoint}/api/models/alice/model/commit/main", content=body)
                acknowledged.append(answer.json()["commitOid"])
                if number == 0:
                    threading.Timer(0.4, process.kill).start()
    assert acknowledged
    with running(root) as endpoint:
        api = HfApi(endpoint=endpoint, token=False)
        kept = [commit.commit_id for commit in api.list_repo_commits("alice/model")]
        assert set(acknowledged) <= set(kept)
        assert len(api.list_repo_files("alice/model")) == len(kept)
        api.upload_file(path_or_fileobj=b"more", path_in_repo="more.txt", repo_id="alice/model")


def test_the_server_stops_quietly_at_a_signal(root: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with served(root) as (endpoint, process):
            HfApi(endpoint=endpoint, token=False).repo_exists("alice/model")
            process.send_signal(number)
            assert process.wait(timeout=20) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""


def test_stopping_frees_the_port_and_leaves_no_thread(root: Path) -> None:
    before = threading.active_count()
    with running(root) as endpoint:
        HfApi(endpoint=endpoint, token=False).create_repo("alice/model")
        port = int(endpoint.rsplit(":", 1)[1])
    assert not [thread for thread in threading.enumerate() if thread.name == "hub"]
    with running(root, port) as endpoint:
        assert endpoint.endswith(f":{port}")
    assert threading.active_count() <= before + 1


def test_a_taken_port_is_told_with_a_remedy(root: Path) -> None:
    with running(root) as endpoint, pytest.raises(LocalHubError, match="Port"), running(root, int(endpoint[-5:])):
        pass


def test_memory_does_not_grow_with_the_file(root: Path) -> None:
    piece, count = bytes(1 << 20), 100
    oid = hashlib.sha256(piece * count).hexdigest()
    with served(root) as (endpoint, process):

        def resident() -> int:
            shown = subprocess.run(["ps", "-o", "rss=", "-p", str(process.pid)], capture_output=True, check=True)
            return int(shown.stdout) * 1024

        seen = [resident()]

        def pieces() -> Iterator[bytes]:
            for number in range(count):
                if number % 25 == 0:
                    seen.append(resident())
                yield piece

        HfApi(endpoint=endpoint, token=False).create_repo("alice/model")
        wanted = {"operation": "upload", "objects": [{"oid": oid, "size": len(piece) * count}]}
        answer = httpx2.post(f"{endpoint}/alice/model.git/info/lfs/objects/batch", json=wanted, headers=LFS)
        address = answer.json()["objects"][0]["actions"]["upload"]["href"]
        assert httpx2.put(address, content=pieces()).status_code == 200
        file = {"key": "lfsFile", "value": {"path": "m.bin", "algo": "sha256", "oid": oid}}
        body = json.dumps({"key": "header", "value": {"summary": "Add it"}}) + "\n" + json.dumps(file)
        assert httpx2.post(f"{endpoint}/api/models/alice/model/commit/main", content=body).status_code == 200
        digest = hashlib.sha256()
        with httpx2.stream("GET", f"{endpoint}/alice/model/resolve/main/m.bin", follow_redirects=True) as download:
            for chunk in download.iter_bytes(1 << 20):
                digest.update(chunk)
        seen.append(resident())
        assert digest.hexdigest() == oid
        assert max(seen) - seen[0] < 64 << 20, seen


def test_importing_the_hub_imports_no_torch() -> None:
    code = "import sys, localhub; assert not {'torch', 'huggingface_hub', 'diffusers'} & set(sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_sixty_calls_take_about_two_seconds(endpoint: str) -> None:
    started = time.monotonic()
    with httpx2.Client() as client:
        for _ in range(60):
            client.get(f"{endpoint}/api/whoami-v2")
    assert time.monotonic() - started < 2, "40 ms a call is Nagle's algorithm waiting for an acknowledgement"
