"""Somebody who commits to a published repository is named, and a run neither undoes it nor pretends not to see it."""

from __future__ import annotations

import pytest

from tests.desk import TWO, Desk
from tests.fleet.conftest import Look
from tests.fleet.test_status import ONE, texts


def test_an_unchanged_recipe_beside_somebodys_commit_has_nothing_to_do(desk: Desk, look: Look) -> None:
    added = desk.shelf.commit_files({"tiny.Q4.gguf": b"GGUF"}, ONE)
    edited = desk.shelf.commit_files({"README.md": b"# Better\n"}, ONE)
    history = desk.shelf.history(ONE)
    found = look()["one"]
    assert (found.state, found.tag, found.commit) == ("edited", "v1", edited)
    assert f"changed by alice in {added[:12]} since v1: tiny.Q4.gguf" in texts(found)
    assert f"changed by alice in {edited[:12]} since v1: README.md" in texts(found)

    done = desk.publish("--json", "run", "recipe.yaml", "--target", "one")
    assert done.code == 0, done.err
    (outcome,) = done.lines[-1]["result"]
    assert (outcome["state"], outcome["tag"]) == ("unchanged", "v1")
    assert (desk.shelf.history(ONE), desk.shelf.tags(ONE)) == (history, ["v1"])


def test_a_changed_recipe_is_refused_before_anything_is_made_and_plan_says_so(desk: Desk) -> None:
    edited = desk.shelf.commit_files({"README.md": b"# Better\n", "tiny.Q4.gguf": b"GGUF"}, ONE)
    recipe = desk.recipe(TWO, require={"size_ratio": {"max": 1.9}})
    plan = desk.publish("--json", "plan", recipe, "--target", "one").lines[-1]["beside"]
    assert plan["kept"] == ["tiny.Q4.gguf"]
    refused = desk.publish("--json", "run", recipe, "--target", "one")
    assert refused.code == 8
    assert f"changed since v1: README.md in {edited[:12]} ('Change files' by alice on" in refused.error
    assert refused.error == f"error: {plan['refused']}"
    assert {line["stage"] for line in refused.lines if "stage" in line} == {"prepare", "plan"}


@pytest.mark.nightly
def test_a_changed_recipe_is_released_over_a_changed_card_where_that_is_asked_for(desk: Desk) -> None:
    desk.shelf.commit_files({"README.md": b"# Better\n", "tiny.Q4.gguf": b"GGUF"}, ONE)
    recipe = desk.recipe(TWO, require={"size_ratio": {"max": 1.9}})
    done = desk.publish("run", recipe, "--target", "one", "--replace")
    assert done.code == 0, done.err
    files = desk.shelf.api.list_repo_files(ONE)
    assert "tiny.Q4.gguf" in files
    assert desk.shelf.tags(ONE) == ["v1", "v2"]
    verified = desk.publish("--json", "verify", ONE, "--no-load")
    assert verified.code == 0, verified.err
    assert "not covered: tiny.Q4.gguf" in verified.out


def test_a_withdrawal_is_nobody_elses_commit_and_a_card_edited_after_it_is(desk: Desk, look: Look) -> None:
    assert desk.publish("yank", ONE, "v1", "--why", "It draws fours.").code == 0
    assert "changed by" not in texts(look()["one"])
    edited = desk.shelf.commit_files({"README.md": b"# Better\n"}, ONE)
    found = look()["one"]
    assert (found.state, found.tag) == ("yanked", "v1")
    assert f"changed by alice in {edited[:12]} since v1: README.md" in texts(found)


def test_a_repository_that_somebody_filled_is_told_before_a_run(desk: Desk, look: Look) -> None:
    desk.shelf.api.create_repo("alice/tiny-two")
    desk.shelf.commit_files({"tiny.Q4.gguf": b"GGUF", "README.md": b"# By hand\n"}, "alice/tiny-two")
    found = look()["two"]
    assert found.state == "unpublished"
    assert "it holds README.md, tiny.Q4.gguf, which no release put there" in texts(found)
    plan = desk.publish("plan", desk.recipe(TWO, destination={"adopt": True}), "--target", "two")
    assert "keeps what others put into alice/tiny-two: tiny.Q4.gguf" in plan.err
    assert "overwrites there README.md" in plan.err
