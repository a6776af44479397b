"""Status: what the Hub has is told as it is, from the recipe and the published plan alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import pytest

from localhub.faults import Faults
from pipeline.errors import HubUnavailableError
from pipeline.fleet.status import TargetStatus, doubt
from pipeline.hub.client import Hub
from pipeline.release.yank import yank
from tests.desk import AGAIN, REPO, TWO, Desk
from tests.fleet.conftest import Look

ONE = "alice/tiny-one"
PLAN, MANIFEST = "publish/plan.json", "publish/manifest.json"


def texts(found: TargetStatus) -> str:
    return "\n".join(finding.text for finding in found.findings)


def test_what_is_on_the_hub_is_current_and_the_rest_was_never_published(desk: Desk) -> None:
    done = desk.publish("--json", "status", "recipe.yaml", python=("-X", "importtime"))
    assert done.code == 0, done.err
    assert " torch\n" not in done.err
    one, two = done.lines[-1]["targets"]
    assert (one["repository"], one["state"], one["tag"], one["findings"]) == (ONE, "current", "v1", [])
    assert (one["versions"]["torchao"], one["notes"]) == (version("torchao"), [])
    assert one["pinned"] == one["source_head"] == desk.shelf.commit
    assert (two["state"], two["commit"]) == ("unpublished", None)


def test_every_recipe_of_the_checkout_is_looked_at_where_none_is_named(desk: Desk) -> None:
    (desk.folder / ".git").mkdir()
    (desk.folder / "recipes").mkdir()
    for name in ("recipe.yaml", "prompts.jsonl"):
        (desk.folder / name).rename(desk.folder / "recipes" / name)
    done = desk.publish("status")
    assert done.code == 0, done.err
    assert all(word in done.err for word in (ONE, "current", "alice/tiny-two", "never published"))


def test_a_source_that_moved_on_is_told_with_both_commits(desk: Desk, look: Look) -> None:
    moved = desk.shelf.commit_files({"notes.md": b"new"})
    found = look()["one"]
    assert (found.state, found.pinned, found.source_head) == ("behind", desk.shelf.commit, moved)
    assert moved[:12] in texts(found)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"call": {"num_inference_steps": 2}}, "call.num_inference_steps: 1 → 2"),
        ({"require": {"size_ratio": {"max": 1.5}}}, "require.size_ratio.max: 2.0 → 1.5"),
        (
            {"targets": {**TWO, "one": {"transformer": {"backend": "quanto", "scheme": "int8"}}}},
            "components.transformer",
        ),
    ],
)
def test_a_recipe_that_changed_says_in_which_word(desk: Desk, look: Look, change: dict[str, object], word: str) -> None:
    desk.recipe(**{"targets": TWO, **change})
    found = look()["one"]
    assert found.state == "changed"
    assert word in texts(found)


def test_another_targets_change_is_not_this_ones(desk: Desk, look: Look) -> None:
    desk.recipe({**TWO, "two": {"transformer": {"backend": "torchao", "scheme": "float8-weight-only"}}})
    assert look()["one"].state == "current"


def test_prompts_that_changed_are_a_change_of_the_recipe(desk: Desk, look: Look) -> None:
    (desk.folder / "prompts.jsonl").write_text('{"prompt": "eight"}\n')
    assert "prompts" in texts(look()["one"])


@pytest.mark.parametrize(
    ("name", "built", "doubted"),
    [
        ("torch", "1.13.1", True),
        ("torch", "99.0", True),
        ("quantpress", "0.1.0", False),
        ("torchmetrics", "0.1.0", False),
        ("diffusers", version("diffusers").rpartition(".")[0], False),
        ("a-library-of-others", "1.0", True),
    ],
)
def test_an_upgrade_makes_nothing_stale_and_is_told_with_what_is_known_of_loading(
    desk: Desk, look: Look, name: str, built: str, doubted: bool
) -> None:
    release_again(desk, "v2", lambda plan: plan["versions"].update({name: built}))
    found = look()["one"]
    assert (found.state, found.tag, found.findings, found.versions[name]) == ("current", "v2", (), built)
    assert all(f"{name} {built}" in note for note in found.notes)
    assert any("publish verify" in note for note in found.notes) == doubted


def test_another_template_is_told_and_makes_nothing_stale(desk: Desk, look: Look) -> None:
    release_again(desk, "v2", lambda plan: plan.update(template_digest="0" * 64))
    found = look()["one"]
    assert (found.state, found.findings) == ("current", ())
    assert "another template" in "".join(found.notes)


def release_again(desk: Desk, tag: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Tag a ``main`` whose plan another version wrote."""
    plan = plan_of(desk)
    change(plan)
    content = json.dumps(plan).encode()
    manifest = document(desk, MANIFEST)
    manifest["files"][PLAN] = {"size": len(content), "sha256": sha256(content).hexdigest()}
    commit = desk.shelf.commit_files({PLAN: content, MANIFEST: json.dumps(manifest).encode()}, ONE, AGAIN)
    desk.shelf.api.create_tag(ONE, tag=tag, revision=commit)


def plan_of(desk: Desk) -> dict[str, Any]:
    return document(desk, PLAN)


def document(desk: Desk, name: str) -> dict[str, Any]:
    hub = Hub(desk.shelf.endpoint, token=desk.token)
    content: dict[str, Any] = json.loads(hub.content(ONE, "main", name, 1 << 24) or b"")
    return content


def test_only_older_and_major_versions_are_doubted() -> None:
    assert doubt("1.9.0", "2.0.0")
    assert doubt("2.1.0", "2.0.0")
    assert doubt("2.0.0", None)
    assert doubt("what", "2.0.0")
    assert not doubt("2.0.0", "2.5.1+cpu")


def test_a_release_that_was_killed_before_its_tag_is_told(desk: Desk, hub: Hub, look: Look) -> None:
    desk.shelf.api.delete_tag(ONE, tag="v1")
    assert look()["one"].state == "untagged"


def test_a_build_that_was_refused_here_is_failing_until_its_recipe_changes(desk: Desk, look: Look) -> None:
    recipe = desk.recipe(TWO, require={"size_ratio": {"max": 0.1}})
    assert desk.publish("run", recipe, "--target", "one").code == 6
    found = look()["one"]
    assert found.state == "failing"
    assert "FAIL" in texts(found)
    assert str(desk.home / "store" / "failed") in texts(found)
    desk.recipe(TWO, require={"size_ratio": {"max": 0.2}})
    assert look()["one"].state == "changed"
    desk.recipe(TWO)
    assert look()["one"].state == "current"


def test_a_withdrawn_tag_is_told_with_its_reason(desk: Desk, hub: Hub, look: Look) -> None:
    yank(hub, ONE, "v1", "It draws fours.")
    found = look()["one"]
    assert (found.state, found.tag) == ("yanked", "v1")
    assert "It draws fours." in texts(found)


def test_a_repository_that_cannot_be_read_hides_no_other(desk: Desk, faults: Faults, look: Look) -> None:
    faults.rules = Faults(["GET /api/models/alice/tiny-two/ status=403 times=always"]).rules
    found = look()
    assert found["one"].state == "current"
    assert (found["two"].state, found["two"].exit_code) == ("unreadable", 3)
    done = desk.publish("status", "recipe.yaml")
    assert done.code == 3
    assert ONE in done.err


def test_a_source_that_is_gone_is_told_beside_what_is_published(desk: Desk, look: Look) -> None:
    desk.shelf.api.delete_repo(REPO)
    found = look()["one"]
    assert (found.state, found.tag, found.exit_code) == ("unreadable", "v1", 4)


def test_a_hub_that_is_not_there_is_told_at_once(desk: Desk) -> None:
    began = time.monotonic()
    done = desk.publish("status", "recipe.yaml", "--hub", "http://127.0.0.1:9")
    assert done.code == HubUnavailableError.exit_code
    assert time.monotonic() - began < 15
