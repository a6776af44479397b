"""An embedder is published like anything else: planned as a single model, judged by its neighbours, loaded as told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.tasks import TASKS
from pipeline.tasks.feature_extraction import modules_of
from pipeline.tasks.metrics import MetricInput, Pair
from tests.desk import Desk

TASK = TASKS["feature-extraction"]


def pairs(own: Any, other: Any) -> MetricInput:
    return MetricInput(
        tuple(Pair(at, f"text {at}", None, 0, *both) for at, both in enumerate(zip(own, other, strict=True)))
    )


def vectors(seed: int, texts: int = 14) -> Any:
    return np.random.default_rng(seed).normal(size=(texts, 8)).astype(np.float32)


def values(metric: str, given: MetricInput) -> list[float]:
    return [reading.value for reading in TASK.metrics[metric].measure(given).readings]


def test_the_same_embeddings_are_alike_in_everything() -> None:
    given = pairs(vectors(1), vectors(1))
    for metric in TASK.medium.metrics:
        assert values(metric, given) == pytest.approx([1.0] * 14)


def test_cosine_is_the_formula_whatever_the_lengths() -> None:
    given = pairs([np.float32([3, 0]), np.float32([1, 0])], [np.float32([1, 1]), np.float32([0, 5])])
    assert values("cosine_similarity", given) == pytest.approx([0.5**0.5, 0.0], abs=1e-7)


def test_ranks_are_of_all_other_texts_and_say_nothing_of_scale() -> None:
    own = vectors(2)
    ranked = values("rank_correlation", pairs(own, own * 3))
    assert ranked == pytest.approx([1.0] * 14)
    turned = values("rank_correlation", pairs(own, vectors(3)))
    assert max(turned) < 0.9


def test_overlap_counts_which_of_ten_neighbours_are_kept() -> None:
    own = vectors(4, texts=12)
    other = own.copy()
    other[1] = -own[1]  # the text turns round: for others it is now far where it was near
    kept = values("overlap_at_10", pairs(own, other))
    assert set(np.round(kept, 6)) <= {0.9, 1.0}
    assert 0.9 in np.round(kept, 6)


@pytest.mark.parametrize(("metric", "texts"), [("rank_correlation", 4), ("overlap_at_10", 12)])
def test_few_texts_have_no_neighbourhood(metric: str, texts: int) -> None:
    assert TASK.metrics[metric].lacks(pairs(vectors(1, texts - 1), vectors(1, texts - 1))).startswith(f"{texts} texts")
    assert not TASK.metrics[metric].lacks(pairs(vectors(1, texts), vectors(1, texts)))


def recipe(desk: Desk, source: Path, **validation: Any) -> Path:
    require = {"cosine_similarity": {"min": 0.99}, "overlap_at_10": {"min": 0.9}}
    return desk.recipe_of_model(source, "feature-extraction", **{"require": require, **validation})


@pytest.mark.nightly
def test_a_single_model_is_published_as_a_pipeline_of_one(desk: Desk, embedder: Path) -> None:
    written = recipe(desk, embedder)
    done = desk.publish("run", written)
    assert done.code == 0, done.err
    release = Path(desk.shelf.api.snapshot_download("alice/tiny-bert-one", local_dir=desk.folder / "release"))
    assert {"config.json", "model.safetensors", "modules.json", "1_Pooling/config.json", "README.md"} <= {
        path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file()
    }
    report = json.loads((release / "publish" / "report.json").read_text())
    assert report["task"] == "feature-extraction"
    assert {"cosine_similarity", "rank_correlation", "overlap_at_10", "size_ratio", "latency"} <= report[
        "metrics"
    ].keys()
    assert {layer["component"] for layer in report["layers"] if layer["quantized"]} == {"model"}
    card = (release / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "pipeline_tag: sentence-similarity" in card
    assert "picture" not in card
    assert "seed" not in card
    again = desk.publish("run", written)
    assert again.code == 0
    assert "unchanged" in again.err
    verified = desk.publish("verify", "alice/tiny-bert-one", "--rebuild", "--recipe", written, "--json")
    assert verified.code == 0, verified.err
    states = {check["name"]: check["state"] for check in verified.lines[-1]["result"]["checks"]}
    assert states["loads"] == states["rebuild"] == "passed"


@pytest.mark.nightly
def test_an_embedder_is_published_with_what_a_board_needs(desk: Desk, embedder: Path) -> None:
    done = desk.publish("run", recipe(desk, embedder, device={"memory": "4GB"}))
    assert done.code == 0, done.err
    release = Path(desk.shelf.api.snapshot_download("alice/tiny-bert-one", local_dir=desk.folder / "release"))
    (use,) = json.loads((release / "publish" / "report.json").read_text())["uses"]
    assert "- Small devices, **PASS**: Limited to 4.0 GB of memory and 1 thread" in (release / "README.md").read_text()
    fit = desk.publish("--json", "can-i-run", "alice/tiny-bert-one", "--memory", "4GB", "--cpu").lines[-1]
    assert fit["mode"]["memory_bytes"] == use["numbers"]["peak_memory"]


@pytest.mark.nightly
def test_a_plan_tells_that_no_browser_is_asked_of_what_is_no_graph(desk: Desk, embedder: Path) -> None:
    targets = {
        "one": {"model": {"backend": "torchao", "scheme": "int8-weight-only", "dtype": "float32"}},
        "graph": {"model": {"backend": "onnx", "scheme": "q8"}},
    }
    require = {"cosine_similarity": {"min": 0.9}}
    written = desk.recipe_of_model(embedder, "feature-extraction", targets, require=require, browser={"questions": 1})
    done = desk.publish("plan", written)
    assert done.code == 0, done.err
    plain, graph = done.out.split("graph → ")
    told = "no browser is asked: a page loads what is ONNX, and this target is not"
    assert told in plain
    assert told not in graph


@pytest.mark.nightly
def test_an_embedder_that_does_not_answer_on_a_board_is_not_published(desk: Desk, embedder: Path) -> None:
    done = desk.publish("run", recipe(desk, embedder, device={"memory": "60MB"}))
    assert done.code == 6
    assert "small device: Limited to 60.0 MB of memory and 1 thread, without a GPU, it does not answer: " in done.err


@pytest.mark.nightly
def test_an_embedder_that_lost_its_neighbours_is_not_published(desk: Desk, embedder: Path) -> None:
    written = recipe(desk, embedder, require={"cosine_similarity": {"min": 0.99999}})
    done = desk.publish("run", written)
    assert done.code == 6
    assert "cosine_similarity is " in done.err
    assert "for '" in done.err
    assert " with seed " not in done.err


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"require": {"psnr": {"min": 18}}}, "unknown key 'psnr'; the keys here are "),
        ({"call": {"pooling": "median"}}, "an embedding is made by pooling: mean, cls or last"),
        ({"call": {"guidance_scale": 3.5}}, "an embedding is made by pooling: mean, cls or last"),
    ],
)
def test_a_recipe_has_the_words_of_its_task(desk: Desk, embedder: Path, wrong: Any, told: str) -> None:
    done = desk.publish("check", recipe(desk, embedder, **wrong))
    assert done.code == 2
    assert told in done.out


def test_the_modules_of_a_sentence_embedder_are_those_that_its_list_names(tmp_path: Path) -> None:
    assert modules_of(tmp_path) == {"modules": []}
    of = "sentence_transformers.models"
    listed = [{"path": "", "type": f"{of}.Transformer"}, {"path": "1_Pooling", "type": f"{of}.Pooling"}]
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert modules_of(tmp_path) == {"modules": ["Transformer", "Pooling"], "Pooling": {"pooling_mode_cls_token": True}}


def test_a_list_of_modules_leads_to_no_file_beside_the_model(tmp_path: Path) -> None:
    (model := tmp_path / "model").mkdir()
    (tmp_path / "config.json").write_text('{"told": "elsewhere"}')
    for path in ("..", "a/..", str(tmp_path), "../../" + tmp_path.name):
        (model / "modules.json").write_text(json.dumps([{"path": path, "type": "models.Pooling"}]))
        assert modules_of(model) == {"modules": ["Pooling"]}, path
