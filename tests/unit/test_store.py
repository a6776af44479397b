"""A result exists when it is whole, is made once, and survives whoever was making it; and so it is removed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.errors import CannotHereError
from pipeline.events import Event
from pipeline.store import Store

PRELUDE = (
    "import sys, time; from pathlib import Path; from pipeline.store import Store; store = Store(Path(sys.argv[1]))"
)


@contextmanager
def process(root: Path, code: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a line of code with a store in another process, which says something when it is ready, until it is killed."""
    code = f"{PRELUDE}\n{code}"
    with subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        yield child
        child.kill()


def test_a_result_is_made_once(tmp_path: Path) -> None:
    store, made = Store(tmp_path), []

    def build(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("content")

    first, second = (store.make("stage", "key", build) for _ in range(2))
    assert first == second == store.look("stage", "key")
    assert (first / "file").read_text() == "content"
    assert len(made) == 1


@pytest.mark.parametrize("resume", [False, True])
def test_what_a_failed_build_left_is_for_the_next_one_that_can_go_on(tmp_path: Path, resume: bool) -> None:
    store = Store(tmp_path)

    def fails(folder: Path) -> None:
        (folder / "half" / "inner").mkdir(parents=True)
        (folder / "half" / "file").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.make("stage", "key", fails, resume=resume)
    assert store.look("stage", "key") is None
    made = store.make("stage", "key", lambda folder: (folder / "rest").touch(), resume=resume)
    assert {path.name for path in made.iterdir()} == ({"half", "rest"} if resume else {"rest"})


def test_two_makers_at_once_make_it_once(tmp_path: Path) -> None:
    store, made = Store(tmp_path), []

    def build(folder: Path) -> None:
        made.append(folder)
        time.sleep(0.2)

    threads = [threading.Thread(target=store.make, args=("stage", "key", build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_a_killed_maker_leaves_no_lock(tmp_path: Path) -> None:
    with process(tmp_path, "store.make('stage', 'key', lambda folder: (print('in', flush=True), time.sleep(60)))"):
        pass
    assert Store(tmp_path).make("stage", "key", lambda _: None).is_dir()


def test_whoever_waits_is_told_for_what(tmp_path: Path) -> None:
    heard: list[Event] = []
    store = Store(tmp_path, heard.append)
    code = "store.make('stage', 'key', lambda folder: (print('in', flush=True), time.sleep(60)))"
    with process(tmp_path, code) as child:
        waiting = threading.Thread(target=store.make, args=("stage", "key", lambda _: None))
        waiting.start()
        while not heard:
            time.sleep(0.01)
        child.kill()
        waiting.join()
    told = f"waits for process {child.pid}, which makes stage key in this home"
    assert [(event.kind, event.text) for event in heard] == [("note", told)]


def test_a_home_that_is_a_file_is_an_error_of_this_environment(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(CannotHereError, match="file where a folder is needed"):
        Store(tmp_path / "home").make("stage", "key", lambda _: None)


def filled(root: Path, key: str = "key") -> Path:
    return Store(root).make("stage", key, lambda folder: [(folder / name).touch() for name in "abc"] and None)


def test_a_removal_that_is_killed_leaves_no_torn_result_and_a_later_run_ends_it(tmp_path: Path) -> None:
    filled(tmp_path)
    code = (
        "import shutil\n"
        "def rmtree(path, **_):\n"
        "    next(path.iterdir()).unlink(); print('in', flush=True); time.sleep(60)\n"
        "shutil.rmtree = rmtree\n"
        "store.drop('stage', 'key')"
    )
    with process(tmp_path, code):
        pass
    store = Store(tmp_path)
    assert store.look("stage", "key") is None
    assert [len(list(trash.iterdir())) for trash in store.aside.iterdir()] == [2]
    store.make("stage", "other", lambda _: None)
    assert not list(store.aside.iterdir())


@pytest.mark.parametrize("use", ["store.look('stage', 'key')", "store.make('stage', 'key', print)"])
def test_nothing_is_removed_that_another_process_uses(tmp_path: Path, use: str) -> None:
    made, store = filled(tmp_path), Store(tmp_path)
    with process(tmp_path, f"{use}; print('in', flush=True); time.sleep(60)"):
        assert store.in_use("stage", "key")
        assert not store.drop("stage", "key")
        assert len(list(made.iterdir())) == 3
    assert not store.in_use("stage", "key")
    assert store.look("stage", "key")  # who uses it itself may remove it
    assert store.drop("stage", "key")
    assert not made.exists()


def test_what_is_being_made_is_not_removed(tmp_path: Path) -> None:
    store, code = Store(tmp_path), "store.make('stage', 'key', lambda _: (print('in', flush=True), time.sleep(60)))"
    with process(tmp_path, code):
        assert store.in_use("stage", "key")
        assert not store.drop_unfinished("stage", "key")
    assert store.unfinished("stage", "key").exists()
    assert store.drop_unfinished("stage", "key")
    assert not list(store.aside.iterdir())


def test_what_failed_its_check_is_moved_away_with_why(tmp_path: Path) -> None:
    filled(tmp_path)
    store = Store(tmp_path)
    store.set_aside("stage", "key", "name", {"why": b"so"})
    assert store.look("stage", "key") is None
    assert {path.name for path in (tmp_path / "failed" / "name").iterdir()} == {"a", "b", "c", "why"}
    store.set_aside("stage", "key", "name", {"why": b"no more"})  # nothing is left of it to move
    assert (tmp_path / "failed" / "name" / "why").read_bytes() == b"so"


def test_what_failed_one_check_stays_where_another_process_still_checks_it(tmp_path: Path) -> None:
    made = filled(tmp_path)
    with process(tmp_path, "store.look('stage', 'key'); print('in', flush=True); time.sleep(60)"):
        Store(tmp_path).set_aside("stage", "key", "name", {"why": b"so"})
        assert {path.name for path in made.iterdir()} == {"a", "b", "c"}
    assert {path.name for path in (tmp_path / "failed" / "name").iterdir()} == {"a", "b", "c", "why"}


@pytest.mark.parametrize("moment", ["write_atomically", "seal"])
def test_a_move_that_is_killed_is_ended_by_a_later_run(tmp_path: Path, moment: str) -> None:
    filled(tmp_path)
    code = (
        f"import pipeline.store as module; module.{moment} = lambda *_: (print('in', flush=True), time.sleep(60))\n"
        "store.set_aside('stage', 'key', 'name', {'why': b'so'})"
    )
    with process(tmp_path, code):
        pass
    assert not (tmp_path / "failed").exists()
    Store(tmp_path).set_aside("stage", "key", "name", {"why": b"so"})
    assert {path.name for path in (tmp_path / "failed" / "name").iterdir()} == {"a", "b", "c", "why"}


def test_what_was_set_aside_can_be_removed(tmp_path: Path) -> None:
    filled(tmp_path)
    store = Store(tmp_path)
    store.set_aside("stage", "key", "name", {})
    store.discard_failed("name")
    assert not list((tmp_path / "failed").iterdir())
    assert not list(store.aside.iterdir())


@pytest.fixture
def half(tmp_path: Path) -> Callable[[int], Store]:
    """Return a store in which a build of ``key`` was interrupted after some bytes, beside a link of 1000."""

    def make(size: int) -> Store:
        store, (other,) = Store(tmp_path, room=lambda _: 70), [tmp_path / "other"]
        other.write_bytes(b"x" * 1000)
        folder = store.unfinished("stage", "key")
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"x" * size)
        (folder / "link").hardlink_to(other)
        return store

    return make


@pytest.mark.parametrize(("size", "left"), [(0, 100), (40, 60), (100, 0), (101, 0)])
def test_room_is_asked_for_what_is_still_to_come(half: Callable[[int], Store], size: int, left: int) -> None:
    store = half(size)
    assert store.to_come("stage", "key", 100) == left
    assert store.to_come("stage", "other", 100) == 100
    store.make("stage", "key", lambda _: None, resume=True)
    assert store.to_come("stage", "key", 100) == 0
    assert store.room() == 70
