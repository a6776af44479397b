"""A result exists when it is whole, is made once, and survives whoever was making it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.errors import CannotHereError
from pipeline.store import Store


def test_a_result_is_made_once(tmp_path: Path) -> None:
    store, made = Store(tmp_path), []

    def build(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("content")

    first, second = (store.make("stage", "key", build) for _ in range(2))
    assert first == second == store.look("stage", "key")
    assert (first / "file").read_text() == "content"
    assert len(made) == 1


def test_a_failed_build_is_not_a_result_and_the_next_one_sees_what_it_left(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fails(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.make("stage", "key", fails)
    assert store.look("stage", "key") is None
    assert (store.make("stage", "key", lambda folder: (folder / "rest").touch()) / "half").exists()


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
    code = (
        "import sys, time; from pathlib import Path; from pipeline.store import Store\n"
        "Store(Path(sys.argv[1])).make('stage', 'key', lambda folder: (print('in', flush=True), time.sleep(60)))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"in\n"
    child.kill()
    child.wait()
    assert Store(tmp_path).make("stage", "key", lambda _: None).is_dir()


def test_a_home_that_is_a_file_is_an_error_of_this_environment(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(CannotHereError, match="file where a folder is needed"):
        Store(tmp_path / "home").make("stage", "key", lambda _: None)


def test_what_failed_its_check_is_moved_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.make("checkpoint", "key", lambda folder: (folder / "file").touch())
    aside = store.set_aside("checkpoint", "key", "name")
    assert store.look("checkpoint", "key") is None
    assert (aside / "file").exists()
