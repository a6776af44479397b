"""Doctor: what publishing takes is looked at, and every line says what to do."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from localhub.server import running
from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.fleet.doctor import ON_GITHUB, Doctor, extras_of, on_github
from pipeline.fleet.machine import (
    NOTHING_TO_DO,
    Remark,
    disk,
    graphics,
    import_failure,
    libraries,
    memory,
    processor,
    requirements,
)
from pipeline.hub.answers import FineGrained
from pipeline.hub.client import Hub
from pipeline.recipe import DatasetPrompts, Vocabulary, load
from pipeline.tasks import TASKS
from tests.desk import REPO, Desk
from tests.fleet.conftest import HASTY

ONE, TWO = "alice/tiny-one", "alice/tiny-two"


@pytest.fixture
def examination(desk: Desk, hub: Hub) -> Doctor:
    loaded = load(desk.folder / "recipe.yaml", Vocabulary(SCHEMES, frozenset(templates()), TASKS))
    return Doctor([loaded], desk.home, hub, hub)


def with_token(examination: Doctor, token: str | None) -> Doctor:
    hub = Hub(examination.hub.endpoint, token=token, patience=HASTY)
    return replace(examination, hub=hub, fallback=hub)


def topics(remarks: list[Remark], topic: str) -> list[Remark]:
    return [remark for remark in remarks if remark.topic == topic]


def test_a_writer_may_write_what_is_there_and_create_what_is_not(examination: Doctor) -> None:
    remarks = list(examination.of_hub())
    assert {remark.level for remark in remarks} == {"ok"}
    assert [remark.text for remark in topics(remarks, "destination")] == [
        f"{ONE}: this token may write it",
        f"{TWO}: this token may create it",
    ]
    assert "alice's, with the role write" in topics(remarks, "token")[0].text


def test_files_of_others_that_a_run_is_refused_for_are_told(desk: Desk, examination: Doctor) -> None:
    examination.hub.api.create_repo(TWO)
    desk.shelf.commit_files({"theirs.txt": b"mine"}, TWO)
    one, two = topics(list(examination.of_hub()), "destination")
    assert (one.level, two.level) == ("ok", "problem")
    assert two.text.startswith(f"{TWO}: It holds theirs.txt, which no release put there")
    recipe = examination.recipes[0].recipe
    adopting = recipe.model_copy(update={"destination": recipe.destination.model_copy(update={"adopt": True})})
    taken = replace(examination, recipes=[replace(examination.recipes[0], recipe=adopting)])
    assert {remark.level for remark in topics(list(taken.of_hub()), "destination")} == {"ok"}


def test_what_a_ladder_may_never_publish_need_not_exist(desk: Desk, examination: Doctor) -> None:
    path = desk.recipe({"ladder": {"cards": ["8GB"], "backends": ["quanto"]}})
    ladder = replace(examination, recipes=[load(path, Vocabulary(SCHEMES, frozenset(templates()), TASKS))])
    remarks = list(replace(ladder, github="acme/recipes").of_hub())
    (destination,), (publisher,) = topics(remarks, "destination"), topics(remarks, "trusted publisher")
    assert destination.text.endswith(
        "this token may create it; it is needed only if its plan publishes it, which `publish plan` says"
    )
    assert publisher.remedy.startswith("It is needed only if its plan publishes it")


def test_without_a_token_each_destination_says_whether_that_suffices(examination: Doctor, tmp_path: Path) -> None:
    remarks = list(with_token(examination, None).of_hub())
    assert [remark.level for remark in topics(remarks, "destination")] == ["problem", "problem"]
    with running(tmp_path / "open") as endpoint:
        Hub(endpoint, token="anybody").api.create_repo(ONE)
        hub = Hub(endpoint, patience=HASTY)
        remarks = list(replace(examination, hub=hub, fallback=hub).of_hub())
    assert topics(remarks, "destination")[0].text == f"{ONE}: anybody may write it"


@pytest.mark.parametrize("token", ["reader", "carol", "nobody"])
def test_a_token_that_may_not_write_is_a_problem_for_every_destination(examination: Doctor, token: str) -> None:
    remarks = list(with_token(examination, token).of_hub())
    assert [remark.level for remark in topics(remarks, "destination")] == ["problem", "problem"]
    assert all("HF_TOKEN" in remark.remedy for remark in topics(remarks, "destination"))
    assert topics(remarks, "token")[0].level == ("ok" if token == "carol" else "problem")


def test_a_workflow_is_told_what_to_enter_and_that_the_repository_comes_first(examination: Doctor) -> None:
    remarks = topics(list(replace(examination, github="acme/recipes").of_hub()), "trusted publisher")
    claims = (
        "issuer https://token.actions.githubusercontent.com, repository acme/recipes, workflow publish.yml, branch main"
    )
    assert [(remark.level, remark.text) for remark in remarks] == [
        ("ok", f"{ONE}: {claims}"),
        ("warning", f"{TWO}: {claims}"),
    ]
    assert f"{examination.hub.endpoint}/{ONE}/settings" in remarks[0].remedy
    assert "must exist first" in remarks[1].remedy


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("git@github.com:acme/recipes.git", "acme/recipes"),
        ("https://github.com/acme/recipes", "acme/recipes"),
        ("https://x:secret@github.com/acme/re.cipes.git/", "acme/re.cipes"),
        ("https://notgithub.com/acme/recipes", None),
        ("https://gitlab.example/github.com-mirror/recipes", None),
    ],
)
def test_the_repository_on_github_is_read_from_the_remote(tmp_path: Path, address: str, found: str | None) -> None:
    assert on_github(tmp_path) is None
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", address], check=True)
    assert on_github(tmp_path) == found
    assert bool(ON_GITHUB.search(address)) == bool(found)


def test_a_hub_that_is_down_is_one_problem_and_the_machine_is_looked_at_all_the_same(examination: Doctor) -> None:
    down = Hub("http://127.0.0.1:9", token="alice", patience=HASTY)
    (remark,) = list(replace(examination, hub=down).of_hub())
    assert (remark.level, remark.topic) == ("problem", "hub")


def test_a_source_says_how_much_it_takes_or_what_is_wrong_with_it(desk: Desk, examination: Doctor) -> None:
    remarks = list(examination.of_room())
    assert {remark.level for remark in remarks} == {"ok"}
    assert "at most" in topics(remarks, "disk")[0].text
    desk.shelf.api.delete_repo(REPO)
    (remark,) = topics(list(examination.of_room()), "source")
    assert remark.level == "problem"
    assert REPO in remark.text


def test_room_is_compared_with_what_a_run_takes(tmp_path: Path) -> None:
    assert disk(tmp_path / "not" / "there", 0, "").level == "ok"
    much = disk(tmp_path, 1 << 60, "large.yaml")
    assert much.level == "warning"
    assert "large.yaml" in much.text
    assert "--stream" in much.remedy
    few, many = memory(1, "x"), memory(1 << 60, "x")
    assert few is not None
    assert many is not None
    assert (few.level, many.level) == ("ok", "warning")


def test_a_target_that_needs_a_gpu_is_a_problem_without_one() -> None:
    assert graphics([]).level == "ok"
    assert graphics(["a/b"]).level in {"ok", "problem"}
    assert processor().topic == "processor"


def test_libraries_are_named_with_what_they_need_and_tried_by_a_child() -> None:
    assert {"torch", "diffusers", "transformers"} <= {need.name for need in requirements("models")}
    assert {need.name for need in requirements("torchao")} == {"torchao"}
    assert import_failure(("json",)) == ""
    assert "no_such_library" in import_failure(("json", "no_such_library"))


def test_datasets_are_needed_where_prompts_come_from_one(examination: Doctor) -> None:
    recipe = examination.recipes[0].recipe
    asked = DatasetPrompts(dataset="acme/table", revision="0" * 40, split="test", column="Prompt")
    from_dataset = recipe.model_copy(update={"validation": recipe.validation.model_copy(update={"prompts": asked})})
    assert set(extras_of([recipe, from_dataset])) - set(extras_of([recipe])) == {"datasets"}
    assert libraries("datasets", ("datasets",)).level == "ok"
    absent = libraries("datasets", ("no_such_library",))
    assert (absent.level, absent.topic) == ("problem", "datasets")
    assert "'quantpress[datasets]'" in absent.remedy


def test_every_line_ends_in_what_to_do(examination: Doctor) -> None:
    remarks = [*with_token(examination, "reader").of_hub(), *examination.of_room()]
    assert all(remark.remedy.endswith(".") for remark in remarks)
    assert all(remark.remedy != NOTHING_TO_DO for remark in remarks if remark.level != "ok")


def test_scopes_of_a_fine_grained_token_are_told() -> None:
    fine = {
        "global": ["discussion.write"],
        "scoped": [{"entity": {"type": "org", "name": "acme"}, "permissions": ["repo.write", "repo.content.read"]}],
    }
    assert FineGrained.of(fine).told() == ("everywhere: discussion.write", "acme: repo.write, repo.content.read")
    assert FineGrained.of({}).told() == ()
