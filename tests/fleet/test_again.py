"""Publishing again: an upgrade repeats nothing, and ``run --rebuild`` releases only what came out otherwise."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pipeline.hub.client import Hub
from pipeline.plan.model import TargetPlan
from pipeline.release.yank import yank
from tests.desk import AGAIN, TWO, WEIGHTS, Desk
from tests.fleet.conftest import Look

ONE = "alice/tiny-one"
PLAN, MANIFEST, PROVENANCE = "publish/plan.json", "publish/manifest.json", "publish/provenance.json"


def read(hub: Hub, name: str, revision: str = "main") -> Any:
    return json.loads(hub.content(ONE, revision, name, 1 << 24) or b"")


@pytest.fixture
def older(desk: Desk, hub: Hub) -> str:
    """A release that older versions made: its plan has them, and its weights came out otherwise. Returns its commit."""
    plan, manifest = read(hub, PLAN), read(hub, MANIFEST)
    plan["versions"] |= {"quantpress": "0.1.0", "torch": "2.0.0"}
    weights = bytearray(hub.content(ONE, "main", WEIGHTS, 1 << 24) or b"")
    weights[-1] ^= 1
    files = {WEIGHTS: bytes(weights), PLAN: json.dumps(plan).encode()}
    for name, content in files.items():
        manifest["files"][name] = {"size": len(content), "sha256": sha256(content).hexdigest()}
    commit = desk.shelf.commit_files({**files, MANIFEST: json.dumps(manifest).encode()}, ONE, AGAIN)
    desk.shelf.api.create_tag(ONE, tag="v2", revision=commit)
    return commit


def test_a_license_that_changes_is_another_plan(desk: Desk, source: Path) -> None:
    folder, recipe = desk.folder / "model", desk.recipe(TWO, source={"path": "model"})
    shutil.copytree(source, folder)
    plans = []
    for said in ("license: apache-2.0", "license: other\nlicense_name: its-own"):
        (folder / "README.md").write_text(f"\n---\n{said}\ntags: [tiny]\n---\n")
        plans.append(desk.engine(recipe).planner.plan("one"))
    assert [plan.source_card for plan in plans] == [
        {"license": "apache-2.0"}, {"license": "other", "license_name": "its-own"},
    ]  # fmt: skip
    assert not plans[1].asks_the_same(plans[0])


def test_what_a_card_repeats_of_its_source_stands_in_the_plan(hub: Hub) -> None:
    assert read(hub, PLAN)["source_card"] == {"license": "apache-2.0", "pipeline_tag": "text-to-image"}


def run(desk: Desk, *arguments: str) -> tuple[dict[str, Any], str]:
    done = desk.publish("--json", "run", "recipe.yaml", "--target", "one", *arguments)
    assert done.code == 0, done.err
    (outcome,) = done.lines[-1]["result"]
    return outcome, done.err


def test_what_other_versions_published_is_not_published_again(desk: Desk, hub: Hub, older: str) -> None:
    outcome, told = run(desk)
    assert (outcome["state"], outcome["tag"], outcome["commit"]) == ("unchanged", "v2", older)
    assert "published already as v2" in told
    assert hub.state(ONE).head == older


def test_a_rebuild_that_gives_the_same_bytes_releases_nothing(desk: Desk, hub: Hub) -> None:
    before = hub.state(ONE)
    outcome, told = run(desk, "--rebuild")
    assert (outcome["state"], outcome["tag"]) == ("unchanged", "v1")
    assert "rebuilt, same bytes as v1" in told
    assert hub.state(ONE) == before


@pytest.fixture
def wanted_again(desk: Desk) -> Path:
    """The recipe as somebody writes it who wants another build of the same."""
    path = desk.folder / "recipe.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), "build": 2}))
    return path


def test_what_is_to_be_built_again_is_another_plan(desk: Desk, hub: Hub, look: Look, wanted_again: Path) -> None:
    before = read(hub, PLAN)
    assert "build" not in before  # as older versions wrote it
    (reason,) = (each.text for each in look()["one"].findings if each.state == "changed")
    assert "build: 1 → 2" in reason
    plan, _ = desk.engine(wanted_again).plan("one")
    assert plan.model_dump(mode="json") == {**before, "build": 2}
    assert not plan.asks_the_same(TargetPlan.model_validate_json(json.dumps(before)))


@pytest.mark.nightly
@pytest.mark.usefixtures("wanted_again")
def test_what_is_to_be_built_again_is_published_as_the_next_version_once(desk: Desk, hub: Hub) -> None:
    before = read(hub, PLAN)
    outcome, _ = run(desk)
    assert (outcome["state"], outcome["tag"]) == ("published", "v2")
    assert read(hub, PLAN) == {**before, "build": 2}
    assert run(desk)[0]["state"] == "unchanged"


def test_a_rebuild_makes_again_what_this_home_still_has(desk: Desk, hub: Hub) -> None:
    (weights,) = (desk.home / "store/checkpoint").glob(f"*/{WEIGHTS}")
    whole, before = weights.read_bytes(), hub.state(ONE)
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        file.write(bytes([whole[-1] ^ 1]))
    _, told = run(desk, "--rebuild")
    assert "rebuilt, same bytes as v1" in told
    assert weights.read_bytes() == whole
    (released,) = (desk.home / "store/release").glob(f"*/{WEIGHTS}")
    assert released.read_bytes() == whole
    assert hub.state(ONE) == before


@pytest.mark.nightly
@pytest.mark.usefixtures("older")
def test_a_rebuild_that_gives_other_bytes_is_the_next_release(desk: Desk, hub: Hub) -> None:
    outcome, _ = run(desk, "--rebuild")
    assert (outcome["state"], outcome["tag"], outcome["commit"]) == ("published", "v3", hub.state(ONE).head)
    builder = read(hub, PROVENANCE)["predicate"]["runDetails"]["builder"]
    assert builder["version"]["torch"] == read(hub, PLAN)["versions"]["torch"] != "2.0.0"


@pytest.mark.usefixtures("older")
def test_what_was_withdrawn_is_known_by_every_version(desk: Desk, hub: Hub) -> None:
    yank(hub, ONE, "v2", "It draws fours.")
    outcome, told = run(desk)
    assert (outcome["state"], outcome["tag"]) == ("yanked", "v2")
    assert "--rebuild" in told


@pytest.mark.nightly
@pytest.mark.usefixtures("older")
def test_a_rebuild_replaces_what_was_withdrawn(desk: Desk, hub: Hub) -> None:
    yank(hub, ONE, "v2", "It draws fours.")
    outcome, _ = run(desk, "--rebuild")
    assert (outcome["state"], outcome["tag"]) == ("published", "v3")
    outcome, _ = run(desk)
    assert (outcome["state"], outcome["tag"]) == ("unchanged", "v3")


@pytest.mark.usefixtures("older")
def test_a_rebuild_never_releases_bytes_that_were_withdrawn(desk: Desk, hub: Hub) -> None:
    yank(hub, ONE, "v1", "It draws fives.")
    head = yank(hub, ONE, "v2", "It draws fours.").commit
    outcome, _ = run(desk, "--rebuild")
    assert (outcome["state"], outcome["tag"]) == ("yanked", "v1")
    assert hub.state(ONE).head == head
