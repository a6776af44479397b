"""What goes wrong on the way to ``main``: nothing unproven gets there, and nobody else's work is overwritten."""

from __future__ import annotations

import json

from pipeline.events import Event
from tests.desk import TWO, Desk
from tests.faults.conftest import Same

TARGET = "alice/tiny-one"


def test_a_target_that_fails_its_threshold_is_kept_aside_and_stays_refused(ready_desk: Desk, same: Same) -> None:
    desk = ready_desk
    recipe = desk.recipe(TWO, require={"size_ratio": {"max": 0.1}})
    done = desk.publish("run", recipe, "--target", "one")
    assert done.code == 6, done.err
    assert not desk.shelf.api.repo_exists(TARGET)
    (failed,) = (desk.home / "store" / "failed").iterdir()
    assert json.loads((failed / "report.json").read_text())["verdict"] == "FAIL"
    assert list(failed.glob("transformer/*.safetensors"))
    same("verdict", desk.plain(done.error))

    again = desk.publish("--json", "run", recipe, "--target", "one")
    assert (again.code, again.error) == (6, done.error)
    assert {line["stage"] for line in again.lines if "stage" in line} == {"prepare", "plan"}


def test_a_verdict_that_is_open_publishes_nothing_and_says_what_would_settle_it(ready_desk: Desk) -> None:
    desk = ready_desk
    done = desk.publish("run", desk.recipe(TWO, require={"psnr": {"min": 10}}), "--target", "one")
    assert done.code == 6, done.err
    assert not desk.shelf.api.repo_exists(TARGET)
    assert "The verdict is INCONCLUSIVE: psnr is " in done.error
    assert "which 1 prompt does not settle" in done.error
    assert "then give more prompts" in done.error


def test_too_few_prompts_are_told_before_anything_is_made(ready_desk: Desk) -> None:
    recipe = ready_desk.recipe(require={"psnr": {"min": 10}, "size_ratio": {"max": 2.0}})
    done = ready_desk.publish("plan", recipe)
    assert "the verdict will be INCONCLUSIVE: with 1 prompt a mean has no interval" in done.err
    assert "psnr takes 8 or more" in done.err
    assert "INCONCLUSIVE" not in ready_desk.publish("plan", ready_desk.recipe()).err


def test_two_runs_in_one_home_publish_once(ready_desk: Desk) -> None:
    recipe = ready_desk.recipe(TWO)
    runs = [ready_desk.start("run", recipe, "--target", "one") for _ in range(2)]
    ended = [run.communicate(timeout=300) and run.returncode for run in runs]
    assert ended == [0, 0]
    assert ready_desk.shelf.tags("alice/tiny-one") == ["v1"]
    assert ready_desk.shelf.pulls("alice/tiny-one") == ["closed"]


def test_a_private_target_is_refused_a_public_place_before_anything_is_made(ready_desk: Desk) -> None:
    ready_desk.shelf.api.create_repo("alice/tiny-one")
    done = ready_desk.publish("run", ready_desk.recipe(destination={"private": True}))
    assert done.code == 8
    assert "Make it private in" in done.error
    assert ready_desk.shelf.pulls("alice/tiny-one") == []


def test_a_card_that_the_hub_refuses_ends_the_run_before_a_byte_goes_there(ready_desk: Desk) -> None:
    body = '{"errors":[{"message":"no such tag"}]}'
    ready_desk.shelf.faults.rules = (f"POST /api/validate-yaml status=400 body='{body}'",)
    error = ready_desk.refused(ready_desk.recipe(TWO))
    assert (error.exit_code, "no such tag" in str(error)) == (7, True)
    assert not ready_desk.shelf.api.repo_exists(TARGET)


def test_a_run_killed_between_verdict_and_setting_aside_is_caught_up(ready_desk: Desk) -> None:
    desk = ready_desk
    recipe = desk.recipe(TWO, require={"size_ratio": {"max": 0.1}})
    sealed = next((desk.home / "store" / "checkpoint").iterdir())
    assert desk.publish("run", recipe, "--target", "one").code == 6
    (failed,) = (desk.home / "store" / "failed").iterdir()
    failed.rename(sealed)
    assert desk.publish("run", recipe, "--target", "one").code == 6
    assert failed.is_dir()
    assert not sealed.exists()


def test_main_that_moved_between_staging_and_promotion_is_not_overwritten(ready_desk: Desk, same: Same) -> None:
    desk = ready_desk

    def somebody_else(event: Event) -> None:
        if event.text.startswith("every byte"):
            desk.shelf.commit_files({"notes.md": b"mine"}, TARGET)

    recipe = desk.recipe(TWO)
    error = desk.refused(recipe, listen=somebody_else)
    assert error.exit_code == 8
    assert desk.shelf.history(TARGET) == ["Change files", "initial commit"]
    assert desk.shelf.tags(TARGET) == []
    assert sorted(desk.shelf.api.list_repo_files(TARGET)) == [".gitattributes", "notes.md"]
    same("moved", desk.plain(str(error)))

    again = desk.publish("--json", "run", recipe, "--target", "one")
    assert again.code == 8
    assert {line["stage"] for line in again.lines if "stage" in line} == {"prepare", "plan"}
    same("not_ours", desk.plain(again.error))

    adopting = desk.recipe(TWO, destination={"adopt": True})
    plan = desk.publish("--json", "plan", adopting, "--target", "one").lines[-1]["beside"]
    assert plan == {"kept": ["notes.md"], "overwritten": [], "refused": ""}
    assert desk.publish("run", adopting, "--target", "one").code == 0
    assert desk.shelf.pulls(TARGET) == ["closed", "closed"]
    assert "notes.md" in desk.shelf.api.list_repo_files(TARGET)
    assert desk.shelf.tags(TARGET) == ["v1"]


def test_bytes_that_the_hub_serves_otherwise_are_not_published(ready_desk: Desk, same: Same) -> None:
    desk = ready_desk
    desk.shelf.faults.rules = ("GET /(xorbs|objects)/ flip times=always",)
    error = desk.refused(desk.recipe(TWO))
    assert error.exit_code == 10
    assert desk.shelf.history(TARGET) == ["initial commit"]
    assert desk.shelf.tags(TARGET) == []
    same("flipped_release", desk.plain(str(error)))
