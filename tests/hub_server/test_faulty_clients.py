"""What the unmodified clients make of a failing Hub: the facts that publishing has to survive."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from localhub.faults import Faults
from tests.hub_server.conftest import LARGE

INFO = "/api/models/alice/model"


# What the Hub's own client makes of them.


def test_a_lost_answer_to_a_commit_raises_and_the_commit_is_there(failing: str, faults: Faults) -> None:
    faults.rules = [f"POST {INFO}/commit/ lost"]
    api = HfApi(endpoint=failing, token=False)
    operations = [CommitOperationAdd("b.txt", b"b")]
    with pytest.raises(httpx2.RemoteProtocolError):
        api.create_commit("alice/model", operations, commit_message="Add b")
    assert api.list_repo_commits("alice/model")[0].title == "Add b"
    assert "b.txt" in api.list_repo_files("alice/model")


def test_an_upload_that_is_reset_is_sent_again(failing: str, faults: Faults) -> None:
    faults.rules = ["PUT /uploads/ reset"]
    faults.seen.clear()
    api = HfApi(endpoint=failing, token=False)
    api.create_commit("alice/model", [CommitOperationAdd("n.bin", LARGE + b"n")], commit_message="Add n")
    assert [seen.rule is not None for seen in faults.seen if seen.method == "PUT"] == [True, False]
    assert "n.bin" in api.list_repo_files("alice/model")


def test_a_flipped_byte_is_accepted(failing: str, faults: Faults) -> None:
    faults.rules = ["GET /objects/ flip"]
    path = HfApi(endpoint=failing, token=False).hf_hub_download("alice/model", "m.bin")
    content = Path(path).read_bytes()
    assert len(content) == len(LARGE)
    assert sum(byte != LARGE[number] for number, byte in enumerate(content)) == 1


def test_a_download_that_is_reset_is_not_tried_again(failing: str, faults: Faults) -> None:
    faults.rules = ["GET /objects/ reset-answer"]
    with pytest.raises(httpx2.ReadError):
        HfApi(endpoint=failing, token=False).hf_hub_download("alice/model", "m.bin")


@pytest.fixture
def with_xet(failing: str, tmp_path: Path) -> Callable[[str], str]:
    """Run code in a process that knows the Hub by ``HF_ENDPOINT`` and whose client uses Xet, retrying without delay."""
    environment = {
        "PATH": os.environ["PATH"],
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": failing,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_XET_CLIENT_RETRY_BASE_DELAY": "20ms",
    }

    def child(code: str) -> str:
        command = [sys.executable, "-c", f"from huggingface_hub import *\napi = HfApi(token='hf_any')\n{code}"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    return child


def met(faults: Faults) -> set[str]:
    """Return the faults that were met."""
    return {str(seen.rule) for seen in faults.seen if seen.rule}


def test_xet_sends_again_what_was_broken_off_and_renews_a_short_token(
    failing: str, faults: Faults, with_xet: Callable[[str], str]
) -> None:
    faults.rules = [
        "GET /xet-write-token/ short",
        "POST /v1/xorbs/ reset",
        "POST /v1/xorbs/ cut-answer",
        "POST /v1/shards lost",
    ]
    make = "content = bytes(range(256)) * 4000 + b'x'\n"
    with_xet(make + "api.upload_file(path_or_fileobj=content, path_in_repo='x.bin', repo_id='alice/model')")
    assert met(faults) == {"short", "reset", "cut-answer", "lost"}
    assert httpx2.get(f"{failing}/alice/model/resolve/main/x.bin", follow_redirects=True).content == LARGE + b"x"
