"""An embedded Hub of its own for each test, and the unmodified clients in this process and in others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.utils._http import default_client_factory

from localhub.faults import Faults
from localhub.server import running
from pipeline.hub.transport import new_client
from tests.desk import XET

SMALL = b"a small file\n" * 20
LARGE = bytes(range(256)) * 4000

LFS = dict.fromkeys(("Accept", "Content-Type"), "application/vnd.git-lfs+json")
PLAIN = {"Accept-Encoding": "identity"}

Run = Callable[..., str]
Push = Callable[..., Any]


@pytest.fixture(autouse=True)
def plain_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Make the client of this process the unmodified one, and keep what it downloads to the test."""
    huggingface_hub.set_client_factory(default_client_factory)  # ours is what Hub.api of other tests leaves behind
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield
    huggingface_hub.set_client_factory(new_client)  # a process sets ours once, and other tests rely on it


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def endpoint(root: Path, caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    with running(root) as address:
        yield address
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")], caplog.text


@pytest.fixture
def api(endpoint: str) -> HfApi:
    return HfApi(endpoint=endpoint, token=False)


@pytest.fixture
def repo(api: HfApi) -> str:
    return api.create_repo("alice/model").repo_id


@pytest.fixture
def push(api: HfApi, repo: str) -> Push:
    """Commit files, given as contents by path, to the repository of the test."""

    def commit(files: Mapping[str, bytes], message: str = "Change files", **options: Any) -> Any:
        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        return api.create_commit(repo, operations, commit_message=message, **options)

    return commit


@pytest.fixture
def run(tmp_path: Path, endpoint: str) -> Run:
    """Run Python code or the ``hf`` command in a process that knows the Hub by ``HF_ENDPOINT`` alone."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "HF_HOME": str(tmp_path / "home" / "hf"),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_NUM_THREADS": "1",
        **XET,
    }

    def child(*arguments: str, code: str = "") -> str:
        bin_folder = Path(sys.executable).parent
        command = [str(bin_folder / "hf"), *arguments] if arguments else [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return child


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def failing(
    root: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[str]:
    """A Hub that fails as ``faults`` say, with a small and a large file; this process sends large ones by LFS."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with running(root, faults=faults) as address:
        api = HfApi(endpoint=address, token=False)
        api.create_repo("alice/model")
        operations = [CommitOperationAdd("a.txt", SMALL), CommitOperationAdd("m.bin", LARGE)]
        api.create_commit("alice/model", operations, commit_message="Upload")
        yield address
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")], caplog.text
