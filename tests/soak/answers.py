"""Answers that no Hub gives: a release, or the reading of a source, meets some, and then succeeds without."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from huggingface_hub import constants

from localhub.faults import Faults
from localhub.server import running
from pipeline.errors import PublishError
from pipeline.files import manifest_of, pretty_json
from pipeline.hub.client import Hub
from pipeline.hub.transport import certificates
from pipeline.release.stage import Publication, release
from pipeline.source.fetch import download
from pipeline.source.layout import read_slots, read_source
from tests.matrix.release import IMPATIENT, REPO, TOKENS, build, look
from tests.soak.between import Answer, Between, between
from tests.soak.guarded import Guard, allowed
from tests.soak.headers import source
from tests.soak.spoiling import Once, bombs

ALLOWED = {3, 4, 8, 9, 10}  # never a defect, never a verdict
MEMORY = 700 << 20  # bytes that a client of a Hub may take beside what it had


def prepare() -> None:
    """Pack, and read certificates, once for all children."""
    bombs()
    certificates()


def meet(number: int, rng: Random, folder: Path, guard: Guard) -> str:
    """Meet spoiled answers with a release, or with the reading of a source; a plain one of the same has to succeed."""
    constants.HF_HUB_DISABLE_XET = rng.random() < 0.5
    for name in ("hf", "user", "tmp"):
        (folder / name).mkdir()
    os.environ |= {"HF_HOME": str(folder / "hf"), "HOME": str(folder / "user"), "TMPDIR": str(folder / "tmp")}
    os.chdir(folder / "user")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with world(folder) as (here, direct):
        work = Releasing(folder, direct) if number % 2 else Reading(folder, direct)
        spoil = Once(rng, here, rng.randrange(work.requests), rng.choice((1, 1, 1, 1, 3, 3, 1e9)))
        here.spoil = spoil
        try:
            end = attempt(work, here.endpoint)
            here.spoil = plainly
            work.look(end)
            after = attempt(work, here.endpoint)
            assert after == "done", f"the plain run ends with {after}: {work.told}"
            work.look(after)
            assert not any(here.strangers), "a token went elsewhere"
            left = sorted(str(path) for name in ("user", "tmp") for path in (folder / name).iterdir())
            assert not left, left
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
            assert grown < MEMORY, f"{grown >> 20} MiB"
        except BaseException as error:
            error.add_note(spoil.told)
            raise
    return end if spoil.told else "not met"  # of fewer answers than were counted on, none was spoiled


def plainly(method: str, path: str, answer: Answer) -> None:
    """Leave an answer as it is."""


@contextmanager
def world(folder: Path) -> Iterator[tuple[Between, Hub]]:
    """Run a Hub and something between; yield that, and the Hub as it is."""
    faults = Faults()
    with running(folder / "hub", tokens=TOKENS, faults=faults) as endpoint:
        storage = (folder / "hub" / "storage.port").read_text()
        with between(urlsplit(endpoint).netloc, f"127.0.0.1:{int(storage)}") as here:
            yield here, Hub(endpoint, token="alice", patience=IMPATIENT)


class Releasing:
    """A release of a small folder."""

    requests = 40
    told = ""

    def __init__(self, folder: Path, direct: Hub) -> None:
        self.folder = folder
        self.direct = direct
        self.build = build(folder / "build")

    def do(self, hub: Hub) -> None:
        """Release."""
        what = Publication("one", "d" * 64, REPO, self.build)
        release(what, hub, self.folder / "aside", lambda *_: "", lambda _: None)

    def look(self, end: str) -> None:
        """Look at the Hub: all is there once, or nothing."""
        wrong = look(Hub(self.direct.endpoint, token="alice"), self.build, done=end == "done")
        assert not wrong, f"{wrong} after {end}"


class Reading:
    """The reading of a source: its listing, its headers, and every file of it downloaded."""

    requests = 25
    told = ""

    def __init__(self, folder: Path, direct: Hub) -> None:
        self.folder = folder
        self.files = source(Random(0))
        for name, content in self.files.items():
            (folder / "build" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "build" / name).write_bytes(content)
        (folder / "build/publish").mkdir()
        (folder / "build/publish/manifest.json").write_bytes(
            pretty_json(manifest_of(folder / "build").model_dump(mode="json"))
        )
        what = Publication("one", "d" * 64, REPO, folder / "build")
        self.commit = release(what, direct, folder / "aside", lambda *_: "", lambda _: None).commit

    def do(self, hub: Hub) -> None:
        """Read and download."""
        place = hub.source(REPO, self.commit)
        layout = read_source(place)
        for component in layout.components.values():
            for name, slots in read_slots(place, component).items():
                opened = place.open(name)
                content = bytearray(place.files[name].size if slots else 0)
                opened.read(0, memoryview(content))
                opened.close()
        to = self.folder / "download"
        to.mkdir(exist_ok=True)
        download(place, {name: place.files[name] for name in layout.wanted}, to, lambda _: None)
        self.listed = place.files

    def look(self, end: str) -> None:
        """Look at what was downloaded: it is what was listed."""
        if end == "done":
            for name in self.files:
                path = self.folder / "download" / name
                assert not path.exists() or name not in self.listed or self.listed[name].describes(path), name


def attempt(work: Releasing | Reading, endpoint: str) -> str:
    """Do it once through what stands between, and return how that ended."""
    try:
        work.do(Hub(endpoint, token="alice", patience=IMPATIENT))
    except PublishError as error:
        work.told = str(error)
        return allowed(error, ALLOWED)
    return "done"
