"""What no recipe needs any more is removed from a home, and nothing else is; what a home holds is told."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.store import Store
from tests.desk import ONE, TWO, Desk, Shelf, opened

WEIGHTS = {"fetch", "checkpoint", "release"}
EVIDENCE = {"reference", "answers", "report"}


def cleaned(desk: Desk, *options: str, code: int = 0) -> dict[str, Any]:
    done = desk.publish("--json", "clean", desk.folder / "recipe.yaml", *options)
    assert done.code == code, done.err
    return done.lines[-1]


def fates(found: dict[str, Any]) -> dict[str, str]:
    return {each["kind"]: each["fate"] for each in found["holdings"]}


def held(desk: Desk) -> dict[Path, tuple[int, int]]:
    files = [path for path in (desk.home / "store").rglob("*") if path.is_file() and "locks" not in path.parts]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.fixture
def unreleased(ready: Path, stocked: Shelf, tmp_path: Path) -> Iterator[Desk]:
    """A maintainer of a target that only waits for its release."""
    shutil.copytree(stocked.root, tmp_path / "hub", symlinks=True)
    shutil.copytree(ready, tmp_path / "home")
    with opened(tmp_path / "hub", stocked) as shelf:
        desk = Desk(tmp_path, shelf, tmp_path / "home")
        desk.recipe(TWO)
        yield desk


def test_a_recipe_that_is_not_released_keeps_all_it_has_and_the_next_run_makes_nothing(unreleased: Desk) -> None:
    before = held(unreleased)
    found = cleaned(unreleased)
    assert set(fates(found)) == WEIGHTS | EVIDENCE
    assert set(fates(found).values()) == {"needed"}
    shared = {"fetch", "reference"}
    for each in found["holdings"]:
        assert each["needed_by"] == [f"recipe.yaml: {name}" for name in TWO if name == "one" or each["kind"] in shared]
    assert found["freed"] == 0
    run = ("run", unreleased.folder / "recipe.yaml", "--target", "one", "--stop-after", "card")
    assert unreleased.publish(*run).code == 0
    assert held(unreleased) == before


def test_a_released_target_leaves_its_evidence_and_the_source_to_those_that_are_not(desk: Desk) -> None:
    found = cleaned(desk)
    assert {kind for kind, fate in fates(found).items() if fate == "removed"} == {"checkpoint", "release"}
    assert [each["needed_by"] for each in found["holdings"] if each["kind"] == "fetch"] == [["recipe.yaml: two"]]
    assert not list((desk.home / "store").glob("checkpoint/*"))
    assert not list((desk.home / "store" / "making").iterdir())
    done = desk.publish("--json", "run", desk.folder / "recipe.yaml", "--target", "one")
    assert [each["state"] for each in done.lines[-1]["result"]] == ["unchanged"]
    page = desk.folder / "page.html"
    assert desk.publish("report", desk.folder / "recipe.yaml", "--target", "one", "--out", page).code == 0
    assert page.exists()


@pytest.mark.parametrize("options", [(), ("--keep-sources",)])
def test_a_source_that_nobody_needs_goes_unless_it_is_to_be_kept(desk: Desk, options: tuple[str, ...]) -> None:
    desk.recipe(ONE)
    assert fates(cleaned(desk, *options))["fetch"] == ("kept" if options else "removed")
    assert bool(list((desk.home / "store").glob("fetch/*"))) == bool(options)


def test_pictures_that_nobody_asks_with_go(desk: Desk) -> None:
    Store(desk.home / "store").make("questions", "0" * 64, lambda folder: (folder / "a.png").touch())
    assert fates(cleaned(desk))["questions"] == "removed"


def test_what_would_go_is_shown_before_anything_goes(desk: Desk) -> None:
    desk.recipe(ONE)
    (desk.home / "rebuild").mkdir()
    (desk.home / "rebuild" / "left").write_bytes(b"x" * 1000)  # by a rebuild that was killed
    before = held(desk)
    sizes = {path: path.stat().st_size for path in before}  # a copy of a home has no links
    shown = cleaned(desk, "--dry-run")
    assert held(desk) == before
    done = cleaned(desk)
    assert (shown["dry_run"], done["dry_run"]) == (True, False)
    assert {**shown, "dry_run": False} == done
    assert done["freed"] == sum(size for path, size in sizes.items() if not path.exists()) + 1000
    assert not (desk.home / "rebuild").exists()


def test_what_a_killed_trial_left_goes_once_no_process_uses_that_folder(desk: Desk, source: Path) -> None:
    places, running = desk.home / "temporary", desk.recipe(ONE, {"path": str(source)}, name="tried.yaml")

    def halfway() -> subprocess.Popen[str]:
        child = desk.start("run", running, "--trial")
        assert child.stderr is not None
        next(line for line in child.stderr if "stand-in" in line)
        return child

    halfway().kill()
    (left,) = places.iterdir()
    assert left.name.startswith("trial-")
    (left / "large").write_bytes(b"x" * 1000)
    other = halfway()  # which removes what was left, too
    other.send_signal(signal.SIGSTOP)  # or it is done before anybody cleans
    (own,) = places.iterdir()
    assert own != left
    (own / "large").write_bytes(b"x" * 1000)
    desk.recipe(ONE)
    cleaned(desk)
    assert (own / "large").is_file()
    other.kill()
    other.wait()
    shown, done = cleaned(desk, "--dry-run"), cleaned(desk)
    assert shown["freed"] == done["freed"] >= 1000
    assert not places.exists()


def test_what_a_running_process_uses_stays(desk: Desk) -> None:
    store = Store(desk.home / "store")
    (checkpoint,) = (desk.home / "store" / "checkpoint").iterdir()
    code = "import sys; from pathlib import Path; from pipeline.store import Store; store = Store(Path(sys.argv[1]))\n"
    code += "store.look('checkpoint', sys.argv[2]); print('in', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(store.root), checkpoint.name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert fates(cleaned(desk, "--dry-run"))["checkpoint"] == "used"
        assert fates(cleaned(desk))["checkpoint"] == "used"
        assert checkpoint.is_dir()
        child.kill()
    assert fates(cleaned(desk))["checkpoint"] == "removed"


def test_what_was_interrupted_stays_for_the_recipe_that_goes_on_with_it(unreleased: Desk) -> None:
    store = Store(unreleased.home / "store")
    (fetched,) = (store.root / "fetch").iterdir()
    fetched.rename(store.unfinished("fetch", fetched.name))
    store.unfinished("checkpoint", "0" * 64).mkdir()
    found = {(each["kind"], each["whole"]): each["fate"] for each in cleaned(unreleased)["holdings"]}
    assert (found["fetch", False], found["checkpoint", False]) == ("needed", "removed")
    assert [path.name for path in store.aside.iterdir()] == [f"fetch-{fetched.name}"]


def test_nothing_is_removed_where_nobody_knows_what_a_recipe_needs(desk: Desk) -> None:
    (desk.folder / "more").mkdir()
    (desk.folder / "more" / "prompts.jsonl").write_text('{"prompt": "seven"}\n')
    recipe = desk.recipe(TWO, source={"path": "./gone"}, name="more/recipe.yaml")
    before = held(desk)
    done = desk.publish("clean", recipe)
    assert done.code == 4
    assert done.error == (
        f"error: {desk.folder}/more/gone: There is no such folder. What more/recipe.yaml needs is not known, so "
        "nothing was removed. Make the folder, or correct its name."
    )
    assert held(desk) == before


def test_people_see_a_table(unreleased: Desk) -> None:
    done = unreleased.publish("clean", unreleased.folder / "recipe.yaml", "--dry-run")
    assert "recipe.yaml: one" in done.err
    assert "0 B would be freed" in done.err
