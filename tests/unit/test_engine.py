"""What an engine resolves before a plan: where the source lies, and which model judges."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd

from localhub.server import running
from pipeline.backends import SCHEMES
from pipeline.card.render import templates
from pipeline.errors import HubUnavailableError, RecipeError
from pipeline.events import Event, silent
from pipeline.hub.client import Hub, RemoteState
from pipeline.hub.retry import ONCE
from pipeline.hub.source import Repository
from pipeline.hub.withdrawn import Shown, Withdrawals
from pipeline.plan.model import TargetPlan
from pipeline.recipe import InvalidRecipe, Vocabulary, load
from pipeline.run import Engine, outcome, published_as
from pipeline.tasks import TASKS
from pipeline.validate import Report

NEVER = Withdrawals()
DIGITS = Path(__file__).parents[2] / "recipes" / "digits"


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    with running(tmp_path / "hub") as address:
        yield address


def engine(folder: Path, judge: str, endpoint: str) -> Engine:
    text = (DIGITS / "recipe.yaml").read_text().replace("model: ./clip,", f"model: {judge},")
    text = text.replace("model: ./classifier,", f"model: {DIGITS / 'classifier'},")
    (folder / "recipe.yaml").write_text(text)
    shutil.copy(DIGITS / "prompts.jsonl", folder)
    loaded = load(folder / "recipe.yaml", Vocabulary(SCHEMES, frozenset(templates()), TASKS))
    hub = Hub(endpoint, token="local")
    return Engine(loaded, folder / "home", hub, hub, silent)


def test_a_judge_on_the_hub_is_pinned_to_its_commit_and_fetched_whole(tmp_path: Path, endpoint: str) -> None:
    api = Hub(endpoint, token="local").api
    api.create_repo("acme/clip")
    operations = [CommitOperationAdd(path.name, path) for path in sorted((DIGITS / "clip").iterdir())]
    commit = api.create_commit("acme/clip", operations, commit_message="CLIP").oid
    api.create_commit("acme/clip", [CommitOperationAdd("config.json", b"{}")], commit_message="Another")
    made = engine(tmp_path, f"acme/clip, revision: {commit}", endpoint)
    assert isinstance(made.judges.places["clip_score"], Repository)
    assert made.judges.pins["clip_score"] == commit
    folder = made.judges.folders(made.store, made.listen)["clip_score"]
    assert {path.name: path.read_bytes() for path in folder.glob("[!.]*")} == {
        path.name: path.read_bytes() for path in (DIGITS / "clip").iterdir()
    }


def test_a_judge_in_a_folder_is_pinned_by_its_files(tmp_path: Path, endpoint: str) -> None:
    shutil.copytree(DIGITS / "clip", tmp_path / "judge")
    first = engine(tmp_path, "./judge", endpoint).judges.pins["clip_score"]
    (tmp_path / "judge" / "config.json").write_text("{}")
    assert engine(tmp_path, "./judge", endpoint).judges.pins["clip_score"] != first


def test_published_is_this_plan_on_a_tagged_main_and_nothing_else() -> None:
    recorded = Path(__file__).parent / "recorded" / "torchao-int8" / "plan.json"
    plan = TargetPlan.model_validate_json(recorded.read_bytes())
    text = recorded.read_bytes()
    assert (
        published_as(plan, RemoteState("theirs", text, {"v1": "other", "v2": "head", "x": "head"}, "head"), NEVER)
        == "v2"
    )
    for state in (
        RemoteState(),
        RemoteState("head", text, {}, "head"),
        RemoteState("head", text, {"v1": "other"}, "head"),
        RemoteState("head", text, {"mine": "head"}, "head"),
        RemoteState("head", None, {"v1": "head"}, "head"),
        RemoteState("head", b"{", {"v1": "head"}, "head"),
        RemoteState("head", text.replace(b'"private": false', b'"private": true'), {"v1": "head"}, "head"),
    ):
        assert published_as(plan, state, NEVER) is None


def test_a_release_beneath_withdrawals_is_published_as_long_as_main_shows_its_plan() -> None:
    recorded = Path(__file__).parent / "recorded" / "torchao-int8" / "plan.json"
    plan = TargetPlan.model_validate_json(recorded.read_bytes())
    beneath = Withdrawals(shown=Shown(tag="v2", commit="older", plan=plan.content_digest))
    tags = {"v1": "oldest", "v2": "older"}
    assert published_as(plan, RemoteState("head", recorded.read_bytes(), tags), beneath) == "v2"
    assert published_as(plan, RemoteState("head", b"{}", tags), beneath) is None


def test_what_was_judged_is_told_with_the_size_that_it_has() -> None:
    recorded = Path(__file__).parent / "recorded" / "torchao-int8"
    plan = TargetPlan.model_validate_json((recorded / "plan.json").read_bytes())
    report = Report.model_validate_json((recorded / "report.json").read_bytes())
    assert report.sizes
    assert report.sizes.result != plan.result_bytes
    told = outcome(plan, "published", report=report)
    assert (told.result_bytes, told.verdict) == (report.sizes.result, "PASS")
    assert outcome(plan, "unchanged").result_bytes == plan.result_bytes


def test_a_judge_that_is_not_there_is_the_recipes_mistake(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(InvalidRecipe, match=r"\.yaml:\d+:\d+: there is no folder \./nowhere\n +\d+ \|"):
        _ = engine(tmp_path, "./nowhere", endpoint).judges.pins


def test_a_source_on_neither_hub_is_told_of_both(tmp_path: Path, endpoint: str) -> None:
    nobody = Hub("http://localhost:9", patience=ONCE)
    made = replace(engine(tmp_path, "./judge", endpoint), hub=Hub(endpoint, name="HOME/hub"), fallback=nobody)
    with pytest.raises(HubUnavailableError) as caught:
        made.repository("digits/digits-flux", "0" * 40)
    told = str(caught.value)
    assert told.startswith("http://localhost:9: localhost cannot be reached (")
    assert " The Hub HOME/hub does not have digits/digits-flux@000000000000 either. Push it to that Hub, or " in told
    assert "--hub local" not in told


def test_a_stage_that_fails_ends_and_is_told_as_failed(tmp_path: Path, endpoint: str) -> None:
    heard: list[Event] = []
    made, seconds = replace(engine(tmp_path, "./judge", endpoint), listen=heard.append), {}
    with pytest.raises(RecipeError), made.timed("fetch", "one", seconds):
        raise RecipeError("no")
    with made.timed("card", "one", seconds):
        pass
    told = [(event.kind, event.stage, event.subject) for event in heard]
    assert told == [
        ("started", "fetch", "one"),
        ("failed", "fetch", "one"),
        ("started", "card", "one"),
        ("finished", "card", "one"),
    ]
    assert [*seconds] == ["card"]
