"""Proof of a commit: the first difference is told when it is found, whatever other files are waited for."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd

from localhub.faults import Faults
from localhub.server import running
from pipeline.errors import VerificationError
from pipeline.hub import xet
from pipeline.hub.client import Hub
from pipeline.hub.content_check import ContentCheck
from pipeline.hub.retry import RetryPolicy
from pipeline.hub.snapshot import Snapshot
from tests.desk import needs_xet

FILES = {name: name.encode() * 100 for name in ("a.txt", "b.txt", "c.txt")}


def test_one_bad_file_is_told_at_once_beside_one_that_hangs(tmp_path: Path) -> None:
    faults = Faults()
    with running(tmp_path / "hub", faults=faults) as endpoint:
        hub = Hub(endpoint, token="local", patience=RetryPolicy(silence=20, progress=3))
        hub.api.create_repo("alice/model")
        additions = [CommitOperationAdd(name, content) for name, content in FILES.items()]
        commit = str(hub.api.create_commit("alice/model", additions, commit_message="Add them").oid)
        assert ContentCheck(Snapshot(hub, "alice/model", commit), lambda _: None).read().keys() >= FILES.keys()
        faults.rules = ("GET /a.txt hang=25 times=always", "GET /b.txt flip times=always")
        began = time.monotonic()
        with pytest.raises(VerificationError, match=r"b\.txt"):
            ContentCheck(Snapshot(hub, "alice/model", commit), lambda _: None).read()
        assert time.monotonic() - began < 10
    for thread in threading.enumerate():
        if thread.name == "proof":
            thread.join(20)  # else it would ask on in the midst of other tests


@needs_xet
def test_the_right_to_read_chunks_is_renewed_when_it_has_ended(tmp_path: Path) -> None:
    with running(tmp_path / "hub") as endpoint:
        hub, content = Hub(endpoint, token="local"), bytes(range(256)) * 1000
        hub.api.create_repo("alice/model")
        additions = [CommitOperationAdd("model.safetensors", content)]
        commit = str(hub.api.create_commit("alice/model", additions, commit_message="Add it").oid)
        place, listed = xet.storage(hub, "alice/model", commit, "read"), hub.listing("alice/model", commit)
        assert place is not None
        ended = {**place, "token": "ended", "token_expiry_unix_secs": 1}
        name = str(listed["model.safetensors"].xet_hash)
        assert b"".join(xet.pieces(ended, name, 9, len(content), hub.patience)) == content[9:]
