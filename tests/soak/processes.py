"""A Hub and its publishers, each a process of its own that can be killed, and the journal that they write together.

The journal has one line for each request that the Hub begins to answer and for what publishers say besides, in the
order in which it happened: whoever writes the next line has the answer to the one before. So a place in the journal is
a moment of a run that comes again in the next one.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars

from localhub.faults import Faults, Seen
from localhub.server import running
from localhub.web import Limits
from pipeline.errors import PublishError
from pipeline.events import silent
from pipeline.files import digest_of
from pipeline.hub.client import Hub
from pipeline.hub.withdrawn import Withdrawals
from pipeline.release.stage import Publication, proofs_of, release
from pipeline.run import published_as
from tests.matrix.release import IMPATIENT, REPO, TOKENS

LONGEST_LINE = 1000  # characters; so short a line enters a pipe in one piece
ENDED = "ended"
HUNG = 60  # seconds without a line in which something certainly happens


class Journal:
    """Lines from several processes, read by the one that made it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._reading, self._writing = os.pipe()
        self._rest = b""

    def tell(self, line: str) -> None:
        """Write a line, in any process."""
        os.write(self._writing, line[:LONGEST_LINE].replace("\n", " ").encode() + b"\n")

    def read(self, seconds: float) -> bool:
        """Take up the lines that come within some time, and return whether any did."""
        if not select.select([self._reading], [], [], seconds)[0]:
            return False
        *lines, self._rest = (self._rest + os.read(self._reading, 1 << 16)).split(b"\n")
        self.lines += [line.decode() for line in lines]
        return True

    def wait(self, found: Callable[[list[str]], bool]) -> None:
        """Read until something is in it."""
        while not found(self.lines):
            if not self.read(HUNG):
                raise TimeoutError(f"nothing happens any more after {self.lines[-3:]}")

    def wait_for(self, start: str) -> str:
        """Return the last line that starts so, waiting for the first."""
        self.wait(lambda lines: any(line.startswith(start) for line in lines))
        return next(line for line in reversed(self.lines) if line.startswith(start))

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


def start(work: Callable[[], None]) -> int:
    """Run a function in a child process, and return its id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:  # nothing of the parent's may run here
        traceback.print_exc()
        os._exit(70)


def kill(child: int) -> None:
    """End a child that nobody waited for, at once."""
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@dataclass
class World:
    """A Hub of one's own, and who publishes to it.

    Attributes:
        home: What the Hub and the publishers keep.
        journal: What happened.
        xet: Whether large files go by Xet.
        endpoint: The Hub's address, the same after it was started again.
        hub: Its process.
        publishers: The processes that were started, by name.
    """

    home: Path
    journal: Journal
    xet: bool
    endpoint: str = ""
    hub: int = 0
    publishers: dict[str, int] = field(default_factory=dict)

    def open(self) -> None:
        """Start the Hub, again at its old port where it was started before."""
        port = int(self.endpoint.rpartition(":")[2] or 0)
        before = len(self.journal.lines)
        self.hub = start(partial(serve, self.home / "hub", port, self.journal))
        self.journal.wait(lambda lines: any(line.startswith("serving") for line in lines[before:]))
        self.endpoint = self.journal.wait_for("serving").split()[1]

    def publish(
        self, folder: Path, name: str = "one", *, first: Callable[[], Any] = int, trial: Callable[[], Any] = int
    ) -> None:
        """Start a publisher; it has the home that it had before under this name.

        Args:
            folder: What it publishes.
            name: How it is called.
            first: What it does before anything else.
            trial: What it does with a release that was read back.
        """

        def work() -> None:
            first()
            publish(self, folder, name, trial)

        self.publishers[name] = start(work)

    def end(self, name: str = "one") -> tuple[int, str]:
        """Wait for a publisher and return its exit code and what it told."""
        start = f"{ENDED} {name} "
        code, _, told = self.journal.wait_for(start).removeprefix(start).partition(" ")
        os.waitpid(self.publishers.pop(name), 0)
        self.journal.lines.remove(f"{start}{code} {told}")
        return int(code), told

    def look(self) -> Hub:
        """Return the Hub as somebody who comes to see."""
        return Hub(self.endpoint, token="alice")


@contextmanager
def world(*, xet: bool) -> Iterator[World]:
    """Open a new Hub; in the end nobody who was started is left."""
    with TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as name:
        made = World(Path(name), Journal(), xet)
        try:
            made.open()
            yield made
        finally:
            for child in (*made.publishers.values(), made.hub):
                kill(child)
            made.journal.close()


def serve(root: Path, port: int, journal: Journal) -> None:
    """Be the Hub, and tell of each request before it is answered."""

    def told(seen: Seen) -> None:
        journal.tell(f"{seen.method} {seen.path}")

    parent = os.getppid()
    with running(root, port, TOKENS, faults=Faults(told=told), limits=Limits()) as endpoint:
        journal.tell(f"serving {endpoint}")
        while os.getppid() == parent:
            time.sleep(0.2)


def publish(world: World, folder: Path, name: str, trial: Callable[[], Any]) -> None:
    """Be a publisher, who leaves what is published as it is, and tell how it ends."""
    os.environ |= {"HF_HOME": str(world.home / name / "hf")}
    constants.HF_HUB_DISABLE_XET = not world.xet
    disable_progress_bars()
    hub = Hub(world.endpoint, token="alice", patience=IMPATIENT)
    try:
        told = take_through(hub, folder, world.home / name / "making", trial)
    except PublishError as error:
        world.journal.tell(f"{ENDED} {name} {error.exit_code} {error}")
    else:
        world.journal.tell(f"{ENDED} {name} 0 {told}")


def take_through(hub: Hub, folder: Path, aside: Path, trial: Callable[[], Any]) -> str:
    """Do what the engine does of a target whose card is written, and return the tag."""
    plan: Any = SimpleNamespace(digest=digest_of(json.loads((folder / "publish/plan.json").read_bytes())))
    if tag := published_as(plan, hub.state(REPO), Withdrawals()):
        proofs_of(hub, REPO, plan.digest, aside).forget()
        return tag

    def tried(*_: object) -> str:
        trial()
        return ""

    return release(Publication(folder.name, plan.digest, REPO, folder), hub, aside, tried, silent).tag


def pause(seconds: float) -> None:
    """Wait exactly; what is left of a millisecond is spent looking at the clock."""
    until = time.monotonic() + seconds
    time.sleep(max(seconds - 0.001, 0))
    while time.monotonic() < until:
        pass
