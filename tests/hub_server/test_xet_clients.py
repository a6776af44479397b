"""The unmodified client with Xet on, in processes of its own, for it reads its environment when it is imported."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi

from localhub.server import running
from localhub.web import Limits
from tests.hub_server.test_durability import free_port

MIB = 1 << 20
Client = Callable[..., str]


def client(home: Path, endpoint: str, *arguments: str, code: str = "", **more: str) -> str:
    """Run Python code or the ``hf`` command with Xet on, and return what it prints."""
    environment = {
        "PATH": os.environ["PATH"],
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_TOKEN": "hf_local",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_XET_CLIENT_RETRY_BASE_DELAY": "20ms",
        **more,
    }
    prelude = "from huggingface_hub import HfApi, CommitOperationAdd\nimport os\napi = HfApi()\n"
    tool = [str(Path(sys.executable).parent / "hf"), *arguments]
    command = tool if arguments else [sys.executable, "-c", prelude + code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=home.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture
def xet(tmp_path: Path, endpoint: str, repo: str) -> Client:
    return lambda *arguments, home="home", **more: client(tmp_path / home, endpoint, *arguments, **more)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def digests(files: dict[str, bytes]) -> dict[str, str]:
    """Return what stands for contents: a difference between megabytes is nothing that pytest can show."""
    return {path: f"{len(content)} {hashlib.sha256(content).hexdigest()}" for path, content in files.items()}


def read(folder: Path | str) -> dict[str, str]:
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*.bin")}
    return digests({path: content for path, content in found.items() if not path.startswith(".cache/")})


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def download(xet: Client, home: str, **more: str) -> dict[str, str]:
    return read(xet(home=home, code="print(api.snapshot_download('alice/model'))", **more))


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    floats = b"".join(number.to_bytes(4, "big") for number in range(1 << 30, (1 << 30) + 300_000))
    shared = os.urandom(500_000)
    return {
        "empty.bin": b"",
        "one.bin": b"\0",
        "zeros.bin": bytes(20 * MIB),
        "zeros and more.bin": bytes(3_000_001) + b"end",
        "repeated.bin": (shared + b"-") * 5,
        "folder/shared.bin": shared + os.urandom(100),
        "folder/floats.bin": floats,
        "random.bin": os.urandom(9 * MIB + 1),
        **{f"many/{number}.bin": os.urandom(number) for number in range(1, 60)},
    }


def test_every_kind_of_file_comes_back_as_it_went(
    xet: Client, endpoint: str, root: Path, tmp_path: Path, files: dict[str, bytes]
) -> None:
    folder = write(tmp_path / "up", files)
    xet(code=f"api.upload_folder(folder_path={str(folder)!r}, repo_id='alice/model')")

    assert download(xet, "other") == digests(files)
    assert download(xet, "plain", HF_HUB_DISABLE_XET="1") == digests(files), (
        "who knows nothing of Xet gets the same bytes"
    )
    told = httpx2.head(f"{endpoint}/alice/model/resolve/main/random.bin")
    assert len(told.headers["X-Xet-Hash"]) == 64
    assert 'rel="xet-auth"' in told.headers["Link"]
    assert size_of(root / "objects") < 13 * MIB, "what repeats or can be compressed takes no room"
    assert size_of(root / "objects" / "sha256") < 10_000, "nothing is kept a second time"


def test_the_command_uploads_and_downloads(xet: Client, tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = write(tmp_path / "up", {"a.bin": files["random.bin"], "b/c.bin": files["repeated.bin"]})
    xet("upload", "alice/model", str(folder), ".")
    xet("download", "alice/model", "--local-dir", str(tmp_path / "down"), home="other")
    assert read(tmp_path / "down") == read(folder)


def test_what_came_by_lfs_and_what_came_by_xet_live_side_by_side(
    xet: Client, endpoint: str, files: dict[str, bytes], tmp_path: Path, root: Path
) -> None:
    folder = write(tmp_path, {"lfs.bin": files["repeated.bin"], "xet.bin": files["random.bin"]})
    upload = "api.upload_file(path_or_fileobj={!r}, path_in_repo={!r}, repo_id='alice/model')"
    xet(code=upload.format(str(folder / "lfs.bin"), "lfs.bin"), HF_HUB_DISABLE_XET="1")
    xet(code=upload.format(str(folder / "xet.bin"), "xet.bin"))
    before = size_of(root / "objects")
    xet(code=upload.format(str(folder / "xet.bin"), "again.bin"), HF_HUB_DISABLE_XET="1")
    assert size_of(root / "objects") < before + 5000, "LFS is told that the object is here"
    both = {"lfs.bin": files["repeated.bin"], "xet.bin": files["random.bin"], "again.bin": files["random.bin"]}
    assert download(xet, "by xet") == download(xet, "by http", HF_HUB_DISABLE_XET="1") == digests(both)
    assert "X-Xet-Hash" not in httpx2.head(f"{endpoint}/alice/model/resolve/main/lfs.bin").headers


def test_tokens_that_expire_during_an_upload_are_renewed(tmp_path: Path, root: Path) -> None:
    content = os.urandom(12 * MIB)
    path = write(tmp_path, {"a.bin": content}) / "a.bin"
    with running(root, limits=Limits(token_seconds=1)) as endpoint:
        HfApi(endpoint=endpoint, token=False).create_repo("alice/model")
        code = f"api.upload_file(path_or_fileobj={str(path)!r}, path_in_repo='a.bin', repo_id='alice/model')"
        client(tmp_path / "home", endpoint, code=code)
        found = client(tmp_path / "other", endpoint, code="print(api.hf_hub_download('alice/model', 'a.bin'))")
        assert read(Path(found).parent) == digests({"a.bin": content})


def test_private_and_gated_files_come_to_who_may_read_them_alone(tmp_path: Path, root: Path) -> None:
    tokens = {
        "hf_alice": {"name": "alice", "role": "write"},
        "hf_bob": {"name": "bob", "role": "write"},
    }
    content = os.urandom(MIB)
    path = write(tmp_path, {"a.bin": content}) / "a.bin"
    with running(root, tokens=tokens) as endpoint:
        api = HfApi(endpoint=endpoint, token="hf_alice")
        for repo in ("alice/private", "alice/gated"):
            api.create_repo(repo, private=repo.endswith("private"))
            upload = f"api.upload_file(path_or_fileobj={str(path)!r}, path_in_repo='a.bin', repo_id={repo!r})"
            client(tmp_path / "alice", endpoint, code=upload, HF_TOKEN="hf_alice")
        api.update_repo_settings("alice/gated", gated="auto")
        for repo in ("alice/private", "alice/gated"):
            get = f"print(api.hf_hub_download({repo!r}, 'a.bin'))"
            found = client(tmp_path / f"reader of {repo[6:]}", endpoint, code=get, HF_TOKEN="hf_alice")
            assert read(Path(found).parent) == digests({"a.bin": content})
            with pytest.raises(AssertionError, match="GatedRepoError" if repo.endswith("gated") else "404"):
                client(tmp_path / "bob", endpoint, code=get, HF_TOKEN="hf_bob")


def test_what_was_sent_and_not_committed_is_not_sent_again(xet: Client, tmp_path: Path, root: Path) -> None:
    path = str(write(tmp_path, {"a.bin": os.urandom(MIB)}) / "a.bin")
    start = f"operation = CommitOperationAdd('a.bin', {path!r})\napi.preupload_lfs_files('alice/model', [operation])"
    commit = "\napi.create_commit('alice/model', [operation], commit_message='Add it')"
    for number, without in enumerate(({}, {"HF_HUB_DISABLE_XET": "1"})):
        xet(code=start, **without)
        before = {file: file.stat().st_mtime_ns for file in (root / "objects").rglob("*") if file.stat().st_size > 9999}
        xet(code=start + commit, **without)
        after = {file: file.stat().st_mtime_ns for file in (root / "objects").rglob("*") if file.stat().st_size > 9999}
        assert before == after, number


def test_an_emptied_store_on_the_same_port_is_another_store(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.bin": os.urandom(2 * MIB)}) / "a.bin"
    port = free_port()
    for root in (tmp_path / "one", tmp_path / "two"):
        if root.name == "two":  # the storage's port, too, is the one that the client knows
            (root).mkdir()
            (root / "storage.port").write_bytes((tmp_path / "one" / "storage.port").read_bytes())
        with running(root, port) as endpoint:
            HfApi(endpoint=endpoint, token=False).create_repo("alice/model")
            code = f"api.upload_file(path_or_fileobj={str(path)!r}, path_in_repo='a.bin', repo_id='alice/model')"
            client(tmp_path / "home", endpoint, code=code)
