"""Large files on their way to the Hub: sent once, by Xet or without it, and nothing is visible by it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from localhub.faults import Faults
from localhub.server import running
from pipeline.events import Event
from pipeline.hub import uploads
from pipeline.hub.client import Hub
from pipeline.hub.destination import Destination
from pipeline.hub.release_files import ReleaseFolder
from pipeline.hub.retry import RetryPolicy
from tests.desk import needs_xet

IMPATIENT = RetryPolicy(connect=1, silence=2, answer=2, progress=3, pause=0.02, longest_pause=0.2)


class Sender:
    """A build and a Hub to send it to; what was sent, and what was told."""

    def __init__(self, endpoint: str, folder: Path, faults: Faults) -> None:
        self.notes: list[Event] = []
        self.faults = faults
        self.heard: tuple[int, int] = (0, 0)
        hub = Hub(endpoint, token="local", patience=IMPATIENT, listen=self.notes.append)
        self.place = Destination(hub, "alice/model")
        self.place.create(private=False)
        self.build = ReleaseFolder.of(folder)
        refs = self.place.refs()
        assert refs is not None
        self.head = refs.head

    def send(self) -> int:
        """Send what the Hub lacks and return the bytes that went over the wire."""
        change = self.build.change(self.place.tree(self.head))
        self.heard = (0, 0)
        uploads.send(self.place.hub, self.place.repo, change, self.hear)
        return self.heard[1]

    def hear(self, read: int, sent: int) -> None:
        self.heard = (read, sent)

    def asked(self, part: str) -> int:
        return sum(part in seen.path for seen in self.faults.seen)


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Sender]:
    folder, faults = tmp_path / "build", Faults()
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.safetensors").write_bytes(os.urandom(300_000))
    with running(tmp_path / "hub", faults=faults) as endpoint:
        yield Sender(endpoint, folder, faults)


@pytest.mark.parametrize("way", [pytest.param("xet", marks=needs_xet), "lfs"])
def test_what_the_hub_has_is_not_sent_again(sender: Sender, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", way == "lfs")
    assert sender.send() >= 600_000
    assert sender.send() < 1000, "what tells the storage of both files, at most"
    assert sender.heard[0] == 600_000


def test_an_upload_that_broke_goes_on_with_the_next_file(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    sender.faults.rules = ("PUT /uploads/ status=403 skip=1 times=always",)
    with pytest.raises(HfHubHTTPError):
        sender.send()
    sender.faults.rules = ()
    assert sender.send() == 300_000


@needs_xet
def test_a_commit_asks_once_for_a_place_and_tells_it_of_all_files_at_once(sender: Sender) -> None:
    sender.send()
    assert [sender.asked(part) for part in ("/xet-write-token/", "/v1/shards", "/objects/batch")] == [1, 1, 0]


@needs_xet
def test_what_a_pull_request_brought_is_named_on_main_and_neither_read_nor_sent_again(sender: Sender) -> None:
    staged = sender.place.stage(sender.build, sender.head, "All of it", sender.hear)
    sender.faults.seen.clear()
    for path in sender.build.folder.iterdir():
        path.unlink()
    sender.place.promote(sender.build, sender.head, "All of it", staged.commit)
    assert not sender.asked("preupload") + sender.asked("/xet-write-token/") + sender.asked("/xorbs/")
    assert sender.build.differences(sender.place.tree("main")) == []


@needs_xet
def test_files_that_xet_does_not_take_go_without_it(sender: Sender) -> None:
    sender.faults.rules = ("POST /v1/xorbs/ status=503 times=always",)
    assert sender.send() == 600_000
    assert sender.asked("/uploads/") == 2
    assert "2 files go by LFS, for Xet did not take them" in sender.notes[0].text


@needs_xet
def test_a_hub_that_lost_what_this_machine_sent_gets_it_again(sender: Sender, tmp_path: Path) -> None:
    sender.send()
    stored = tmp_path / "hub" / "objects"
    shutil.rmtree(stored / "xet")
    (stored / "xet").mkdir()
    sender.send()
    change = sender.build.change(sender.place.tree(sender.head))
    lines = uploads.commit_lines(change, change.files, sender.head, "All of it")
    uploads.commit(sender.place.hub, sender.place.repo, lines)
    assert sender.build.differences(sender.place.tree("main")) == []
