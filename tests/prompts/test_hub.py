"""A recipe asks prompts of a dataset on the Hub: those of its commit, fetched once, and nothing else of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from localhub.server import running
from pipeline.errors import HubUnavailableError, PublishError, RecipeError, SourceError
from pipeline.fleet.status import changes
from pipeline.hub.client import Hub
from pipeline.hub.retry import RetryPolicy
from pipeline.recipe import DatasetPrompts
from pipeline.store import Store
from pipeline.validate.prompts import LARGEST_SPLIT, refuse_large
from tests.desk import TOKENS, Desk, torn
from tests.machines import without
from tests.prompts.conftest import LINES, SAMPLE, TABLE, TEXTS, Shown, push

Asking = Callable[..., Path]


def texts(desk: Desk, recipe: Path) -> list[str]:
    return [prompt.prompt for prompt in desk.engine(recipe).prompts.prompts]


def requests(desk: Desk) -> list[str]:
    """What the Hub was asked of its datasets, and of the bytes behind them."""
    return [seen.path for seen in desk.shelf.faults.seen if "datasets/" in seen.path or "/xorbs/" in seen.path]


def refusal(desk: Desk, recipe: Path) -> PublishError:
    with pytest.raises(PublishError) as caught:
        _ = desk.engine(recipe).prompts
    return caught.value


def test_a_plan_has_the_prompts_themselves_and_says_where_they_come_from(shown: Shown) -> None:
    told = [json.loads(line) for line in shown.done.out.splitlines()[:-1]]
    (validation,) = [entry["plan"]["validation"] for entry in told if "plan" in entry]
    asked = validation["dataset"]
    assert {"dataset": TABLE, "split": "train", "column": "Prompt", **SAMPLE}.items() <= asked.items()
    assert {"rows": 14, "repeated": 2}.items() <= asked.items()
    found = [prompt["prompt"] for prompt in validation["prompts"]]
    assert len({*found} & {*TEXTS}) == 3
    assert found == sorted(found, key=TEXTS.index)
    assert {prompt["label"] for prompt in validation["prompts"]} <= {"x", "y"}


def test_planning_imports_neither_torch_nor_datasets_and_shows_no_bars(shown: Shown) -> None:
    assert shown.done.out.splitlines()[-1] == "[]"
    assert "examples" not in shown.done.err


def test_the_second_plan_is_the_same_and_fetches_no_rows(again: Desk, asking: Asking, shown: Shown) -> None:
    done = again.publish("plan", asking(**SAMPLE), "--json")
    assert done.lines[-1] == json.loads(shown.done.out.splitlines()[-2])
    assert requests(again) == []


def test_prompts_that_a_kill_left_half_drawn_are_drawn_anew(again: Desk, asking: Asking) -> None:
    drawn = texts(again, asking(**SAMPLE))
    torn(Store(again.home / "store"), "prompts")
    assert texts(again, asking(**SAMPLE)) == drawn


def test_what_was_fetched_is_not_fetched_again_for_another_seed(again: Desk, asking: Asking) -> None:
    sampled = texts(again, asking(sample=4, seed=1))
    assert {*sampled} < {*TEXTS}
    assert requests(again)
    assert not [path for path in requests(again) if "/resolve/" in path or "/xorbs/" in path]


def test_only_the_files_of_the_split_are_fetched(desk: Desk, asking: Asking) -> None:
    assert texts(desk, asking(split="test")) == ["not asked"]
    fetched = {path.name for path in (desk.home / "store" / "fetch").rglob("[!.]*") if path.is_file()}
    assert fetched == {"test-00000-of-00001.parquet"}


def test_a_configuration_is_read_as_its_card_describes_it_from_the_hub_that_has_it(
    desk: Desk, asking: Asking, tmp_path: Path
) -> None:
    recipe = asking(LINES, config="long", split="val", column="text", label="label")
    with running(tmp_path / "empty", tokens=TOKENS) as endpoint:
        read = replace(desk.engine(recipe), hub=Hub(endpoint, token="alice")).prompts.prompts
    assert [(prompt.prompt, prompt.label) for prompt in read] == [("a cat", "cat"), ("a dog", "dog")]


def test_a_private_dataset_is_read_with_the_users_token_alone(desk: Desk, asking: Asking) -> None:
    commit = push(desk.shelf, "alice/own", {"a.jsonl": b'{"text": "mine"}\n'}, private=True)
    recipe = asking("alice/own", revision=commit, column="text", destination={"private": True})
    desk.token = "carol"
    assert isinstance(error := refusal(desk, recipe), SourceError)
    assert "no such repository, or it is private" in str(error)
    desk.token = "alice"
    assert texts(desk, recipe) == ["mine"]


def test_the_rows_of_a_private_dataset_are_not_published_unasked(desk: Desk, asking: Asking) -> None:
    commit = push(desk.shelf, "alice/own", {"a.jsonl": b'{"text": "mine"}\n'}, private=True)
    words = {"revision": commit, "column": "text"}
    assert texts(desk, asking("alice/own", destination={"private": True}, **words)) == ["mine"]
    done = desk.publish("plan", asking("alice/own", **words))  # what was drawn for a private place is not taken
    assert done.code == 2
    assert done.error == (
        f"error: alice/own@{commit[:12]}, split train, column text: The dataset is private, and a release would "
        "publish its prompts and their files. Write `destination: {private: true}`, or take a public dataset."
    )


def test_a_commit_that_the_dataset_does_not_have_is_the_sources_fault(desk: Desk, asking: Asking) -> None:
    done = desk.publish("plan", asking(revision="1" * 40))
    assert done.code == 4
    assert "acme/table@111111111111: The repository has no such commit." in done.error


def test_a_word_that_the_dataset_does_not_have_is_the_recipes_fault(desk: Desk, asking: Asking) -> None:
    error = refusal(desk, asking(split="tests"))
    assert isinstance(error, RecipeError)
    assert re.fullmatch(
        r"acme/table@[0-9a-f]{12}, split tests, column Prompt: The dataset has no split 'tests'\. "
        r"Did you mean 'test'\? It has train and test\.",
        str(error),
    )


def test_without_datasets_the_remedy_is_told_before_anything_is_fetched(desk: Desk, asking: Asking) -> None:
    desk.extra |= without(desk.folder / "site", "datasets")
    done = desk.publish("plan", asking())
    assert done.code == 3
    assert "pip install 'quantpress[datasets]'" in done.error
    assert requests(desk) == []


def test_a_hub_that_is_down_is_told_as_such(desk: Desk, asking: Asking) -> None:
    desk.shelf.faults.rules = ("GET datasets/ status=503 times=always",)
    engine = desk.engine(asking())
    engine.hub.patience = RetryPolicy(progress=1.0)
    with pytest.raises(HubUnavailableError):
        _ = engine.prompts


def test_a_split_of_more_than_texts_is_refused_before_it_is_fetched() -> None:
    asked = DatasetPrompts(dataset=TABLE, revision="0" * 40, split="train", column="Prompt")
    with pytest.raises(RecipeError, match="at most"):
        refuse_large(asked, LARGEST_SPLIT + 1)


def test_pictures_are_left_and_their_table_is_read(desk: Desk, asking: Asking) -> None:
    """As pictures are most of the files, datasets would read the folder as a collection of them."""
    files = {
        "metadata.csv": b"file_name,text\n1.png,a cat\n2.png,a dog\n",
        "1.png": b"1",
        "2.png": b"2",
        "a:b.png": b"3",
    }
    commit = push(desk.shelf, "alice/pictures", files)
    assert texts(desk, asking("alice/pictures", revision=commit, column="text")) == ["a cat", "a dog"]


def test_a_dataset_without_a_table_is_refused(desk: Desk, asking: Asking) -> None:
    commit = push(desk.shelf, "alice/archive", {"train.zip": b"PK", "train.pkl": b"..."})
    assert "The dataset has no table" in str(refusal(desk, asking("alice/archive", revision=commit)))


def test_a_card_that_names_a_file_of_this_machine_is_not_followed(desk: Desk, asking: Asking, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the password\n")
    card = f"---\nconfigs:\n- config_name: default\n  data_files: {secret}\n---\n"
    commit = push(desk.shelf, "alice/trap", {"README.md": card.encode(), "a.txt": b"hello\n"})
    error = refusal(desk, asking("alice/trap", revision=commit, column="text"))
    assert isinstance(error, SourceError)
    assert "which is none of its repository's" in str(error)


def test_a_recipe_that_asks_otherwise_than_what_is_published_is_told_apart(again: Desk, asking: Asking) -> None:
    engine = again.engine(asking(**SAMPLE))
    plan, _ = engine.plan("one")
    assert changes(engine.loaded, "one", plan) == []
    other = again.engine(asking(**SAMPLE | {"seed": 6})).loaded
    assert changes(other, "one", plan) == ["prompts.seed: 5 → 6"]


def test_a_plan_whose_prompts_come_from_a_file_says_nothing_of_datasets(again: Desk) -> None:
    plan, _ = again.engine(again.recipe()).plan("one")
    assert "dataset" not in plan.model_dump(mode="json")["validation"]
