"""Large files on their way to the Hub: sent once, by Xet or without it, and nothing is visible by it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from pipeline.events import Event
from pipeline.hub.client import Hub
from pipeline.hub.destination import Build, Destination
from pipeline.hub.local import running
from pipeline.hub.local.faults import Faults
from pipeline.hub.patience import Patience
from tests.desk import needs_xet

IMPATIENT = Patience(connect=1, silence=2, answer=2, progress=3, pause=0.02, longest_pause=0.2)


class Sender:
    """A build and a Hub to send it to; what was sent, and what was told."""

    def __init__(self, endpoint: str, folder: Path, faults: Faults) -> None:
        self.notes: list[Event] = []
        self.faults = faults
        self.sent: list[tuple[str, int, int, int]] = []
        hub = Hub(endpoint, token="local", patience=IMPATIENT, listen=self.notes.append)
        self.place = Destination(hub, "alice/model")
        self.place.create(private=False)
        self.build = Build.of(folder)
        refs = self.place.refs()
        assert refs is not None
        self.head = refs.head

    def send(self) -> int:
        """Send what the Hub lacks and return the bytes that went over the wire."""
        change = self.build.change(self.place.tree(self.head))
        self.sent.clear()
        self.place._uploader.send(change, "main", lambda *heard: self.sent.append(heard))
        return sum({name: wire for name, _, wire, _ in self.sent}.values())

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
    assert sender.send() == 0
    assert len(sender.sent) == 2


@pytest.mark.parametrize("way", [pytest.param("xet", marks=needs_xet), "lfs"])
def test_an_upload_that_broke_goes_on_with_the_next_file(
    sender: Sender, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", way == "lfs")
    first = 0 if way == "xet" else 1  # what Xet does not take is tried without it
    sender.faults.rules = (
        "POST /v1/shards status=403 skip=1 times=always",
        f"PUT /uploads/ status=403 skip={first} times=always",
    )
    with pytest.raises(HfHubHTTPError):
        sender.send()
    sender.faults.rules = ()
    assert 300_000 <= sender.send() < 400_000


@needs_xet
def test_files_that_xet_does_not_take_go_without_it(sender: Sender) -> None:
    sender.faults.rules = ("POST /v1/xorbs/ status=503 times=always",)
    assert sender.send() == 600_000
    assert sender.asked("/uploads/") == 2
    assert "goes by LFS, for Xet did not take it" in sender.notes[0].text


@needs_xet
def test_a_hub_that_lost_what_this_machine_sent_gets_it_again(sender: Sender, tmp_path: Path) -> None:
    sender.send()
    stored = tmp_path / "hub" / "objects"
    shutil.rmtree(stored / "xet")
    (stored / "xet").mkdir()
    sender.send()
    change = sender.build.change(sender.place.tree(sender.head))
    large = frozenset(change.files)
    sender.place._uploader.commit(change, large, "main", sender.head, "All of it")
    assert sender.build.differences(sender.place.tree("main")) == []
