"""What this machine or this token cannot do ends in 3 before anything was built, and says how to help."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.desk import TWO, Desk
from tests.faults.conftest import Same
from tests.machines import without


@pytest.mark.parametrize(
    ("package", "quantization"),
    [
        ("optimum", {"backend": "quanto", "scheme": "int8"}),
        ("bitsandbytes", {"backend": "bitsandbytes", "scheme": "nf4"}),
        ("torch", {"backend": "torchao", "scheme": "int8-weight-only"}),
    ],
)
def test_a_backend_that_is_not_installed(desk: Desk, same: Same, package: str, quantization: Any) -> None:
    desk.extra |= without(desk.folder / "site", package)
    done = desk.publish("run", desk.recipe({"one": {"transformer": quantization}}))
    assert done.code == 3
    assert not (desk.home / "store").exists()
    same(f"without_{package}", desk.plain(done.error))


def test_a_scheme_that_needs_a_gpu_is_planned_anywhere_and_refused_before_it_is_made(desk: Desk, same: Same) -> None:
    desk.extra["CUDA_VISIBLE_DEVICES"] = "-1"
    recipe = desk.recipe({"one": {"transformer": {"backend": "torchao", "scheme": "int4-weight-only"}}})
    assert desk.publish("plan", recipe).code == 0
    done = desk.publish("run", recipe)
    assert done.code == 3
    assert not (desk.home / "store").exists()
    same("without_gpu", desk.plain(done.error))


@pytest.mark.parametrize(("token", "name"), [("", "no_token"), ("reader", "read_token"), ("carol", "foreign_token")])
def test_a_token_that_may_not_write_is_refused_before_anything_is_built(
    desk: Desk, same: Same, token: str, name: str
) -> None:
    desk.token = token
    error = desk.publish("run", desk.recipe())
    assert error.code == 3
    assert not (desk.home / "store").exists()
    same(name, desk.plain(error.error))


def test_a_token_that_nobody_was_given(desk: Desk, same: Same) -> None:
    desk.token = "hf_revoked"
    done = desk.publish("run", desk.recipe())
    assert done.code == 3
    same("unknown_token", desk.plain(done.error))


def test_a_read_token_may_not_change_a_repository_that_is_there(desk: Desk, same: Same) -> None:
    desk.shelf.api.create_repo("alice/tiny-one")
    desk.token = "reader"
    done = desk.publish("run", desk.recipe())
    assert done.code == 3
    assert desk.shelf.history("alice/tiny-one") == ["initial commit"]
    assert not (desk.home / "store").exists()
    same("read_token_there", desk.plain(done.error))


def test_what_needs_no_right_to_write_asks_for_none(ready_desk: Desk) -> None:
    ready_desk.token = "carol"
    assert ready_desk.publish("run", ready_desk.recipe(TWO), "--target", "one", "--stop-after", "card").code == 0


@dataclass
class Disk:
    """A disk that soon is full: a small one where this user may mount, else a limit on the size of files."""

    home: Path
    options: dict[str, Any]
    make_room: Callable[[], None]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int, int], Disk]]:
    """Make a disk of some bytes or, instead, one whose files may have no more than so many."""
    mounted: list[Path] = []

    def make(size: int, limit: int) -> Disk:
        folder = tmp_path / "disk"
        folder.mkdir()
        if run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder):
            options = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))}
            return Disk(folder, options, options.clear)
        mounted.append(folder)
        return Disk(folder, {}, lambda: assert_done("mount", "-o", "remount,size=64m", folder))

    yield make
    for folder in mounted:
        assert_done("umount", folder)


def run(*command: object) -> int:
    return subprocess.run([*map(str, command)], check=False, capture_output=True).returncode


def assert_done(*command: object) -> None:
    assert run(*command) == 0


@pytest.mark.parametrize(("stage", "size", "limit"), [("fetch", 300_000, 300_000), ("quantize", 1_100_000, 100_000)])
def test_a_full_disk_leaves_nothing_half_made_and_a_later_run_finishes(
    ready_desk: Desk, small_disk: Callable[[int, int], Disk], stage: str, size: int, limit: int
) -> None:
    desk, recipe, ready = ready_desk, ready_desk.recipe(TWO), ready_desk.home
    disk = small_disk(size, limit)
    desk.home = disk.home
    (disk.home / "answers").symlink_to(ready / "answers")
    arguments = ("run", recipe, "--target", "one", "--stop-after")
    if stage == "quantize":
        assert desk.publish(*arguments, "fetch").code == 0
    done = desk.publish(*arguments, stage, **disk.options)
    assert done.code == 3, done.err
    assert done.error.startswith(f"error: {disk.home}/store")
    assert done.error.endswith("give another folder with --home, then run the same command again: it continues.")
    assert not list((disk.home / "store").glob(f"{'checkpoint' if stage == 'quantize' else 'fetch'}/*"))
    disk.make_room()
    assert desk.publish(*arguments, "quantize", **disk.options).code == 0
    made = [path.read_bytes() for path in sorted(disk.home.glob("store/checkpoint/*/transformer/*"))]
    assert made == [path.read_bytes() for path in sorted(ready.glob("store/checkpoint/*/transformer/*"))]
