"""What a consumer is told of a release that is what was published, and of one that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.plan.model import TargetPlan
from pipeline.verify.verification import Wanted
from tests.verify.conftest import REPO, Consumer


def test_a_release_verifies_whole(consumer: Consumer) -> None:
    done = consumer.publish("--json", "verify", REPO, "--key", consumer.key)
    assert done.code == 0, done.err
    result = done.lines[-1]["result"]
    names = ["names", "bytes", "manifest", "others", "format", "withdrawals", "recipe", "report", "card", "provenance"]
    names += ["signature", "versions", "loads"]
    assert [(check["name"], check["state"]) for check in result["checks"]] == [(name, "passed") for name in names]
    assert (result["repository"], result["passed"]) == (REPO, True)
    (told,) = (check["text"] for check in result["checks"] if check["name"] == "provenance")
    shown = TargetPlan.model_validate_json(consumer.release["publish/plan.json"]).digest  # by `publish plan`
    assert told.endswith(f" by the plan {shown[:12]}")
    assert sorted(path.name for path in consumer.home.iterdir()) == ["locks", "logs"]


def test_what_is_read_is_told_in_bytes(consumer: Consumer) -> None:
    events = []
    consumer.verify(listen=events.append)
    total = sum(file.size for file in consumer.hub.tree(REPO, "main").values())
    progress = [event for event in events if event.kind == "progress"]
    assert {event.total for event in progress} == {total}
    assert progress[-1].done == total


@pytest.mark.parametrize("revision", ["v1", "main", "commit"])
def test_a_revision_is_verified_at_its_commit(consumer: Consumer, revision: str) -> None:
    commit = consumer.hub.find(REPO, "v1")
    consumer.change({"README.md": b"# Another\n"})
    found, failure = consumer.verify(Wanted(revision=commit if revision == "commit" else revision, load=False))
    assert found.passed is (revision != "main")
    assert (found.commit == commit) is (failure is None)


def test_what_is_not_there_is_told_so(consumer: Consumer) -> None:
    for arguments in (["alice/nothing"], [REPO, "--revision", "v7"]):
        done = consumer.publish("verify", *arguments)
        assert done.code == 4
        assert "There is no repository" in done.error


def test_a_repository_of_others_is_told_so(consumer: Consumer) -> None:
    done = consumer.publish("verify", "acme/tiny")
    assert done.code == 10
    assert "It has no publish/manifest.json: it was not published by quantpress" in done.error


def test_a_recipe_that_includes_others_is_published_with_their_words(consumer: Consumer, released: Path) -> None:
    text = consumer.release["publish/recipe.yaml"].decode()
    assert "include:" not in text
    assert "\ndefaults:\n  transformer: {backend: torchao, scheme: int8-weight-only}\n" in text
    assert '  prompts: "../prompts.jsonl"\n' in text
    done = consumer.publish("verify", REPO, "--no-load", "--recipe", released / "mine" / "recipe.yaml")
    assert done.code == 0, done.err


def test_a_local_recipe_is_what_it_was_made_of(consumer: Consumer) -> None:
    same = consumer.recipe({"one": {"transformer": {"backend": "torchao", "scheme": "int8-weight-only"}}})
    assert consumer.publish("verify", REPO, "--no-load", "--recipe", same).code == 0
    other = consumer.recipe({"one": {"transformer": {"backend": "quanto", "scheme": "int8"}}})
    done = consumer.publish("verify", REPO, "--no-load", "--recipe", other)
    assert done.code == 10
    assert f"and {other} says" in done.error
    (consumer.folder / "prompts.jsonl").write_text('{"prompt": "eight"}\n')
    same.write_text(other.read_text().replace("quanto", "torchao").replace('"int8"', '"int8-weight-only"'))
    done = consumer.publish("verify", REPO, "--no-load", "--recipe", same)
    assert done.code == 10
    assert "The prompts of" in done.error


def test_a_consumer_without_the_libraries_is_told_what_is_missing(consumer: Consumer) -> None:
    """They are hidden from the command's process, as if they were not installed."""
    hidden = consumer.folder / "hidden" / "sitecustomize.py"
    hidden.parent.mkdir()
    hidden.write_text(HIDES)
    consumer.extra["PYTHONPATH"] = str(hidden.parent)
    done = consumer.publish("--json", "verify", REPO)
    assert done.code == 0, done.err
    checks = {check["name"]: check for check in done.lines[-1]["result"]["checks"]}
    assert checks["loads"]["state"] == "not checked"
    assert checks["loads"]["text"] == "torch is not installed: pip install 'quantpress[all]'"
    assert checks["signature"]["state"] == "not checked"
    refused = consumer.publish("verify", REPO, "--key", consumer.key)
    assert refused.code == 3
    assert "quantpress[signing]" in refused.error


def test_a_withdrawn_release_is_still_what_it_says(consumer: Consumer) -> None:
    consumer.token = "alice"
    done = consumer.publish("yank", REPO, "v1", "--why", "It draws sixes.")
    assert done.code == 0, done.err
    assert consumer.verify()[1] is None
    assert consumer.publish("verify", REPO, "--no-load", "--key", consumer.key).code == 10
    assert consumer.publish("verify", REPO, "--no-load", "--key", consumer.key, "--revision", "v1").code == 0


HIDES = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] in {"torch", "diffusers", "transformers", "torchao", "model_signing"}
        return None if hidden else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
