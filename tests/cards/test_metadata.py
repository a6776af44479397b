"""The metrics stand in the metadata as the Hub reads them, and as its own library does."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from localhub.server import running
from pipeline.hub.client import Hub
from pipeline.plan.model import TargetPlan
from pipeline.plan.parts import PlannedDataset
from pipeline.release.yank import with_banner
from pipeline.validate import Report
from tests.cards.conftest import asking, card

DATASET = PlannedDataset(
    dataset="nateraw/parti-prompts", revision="a" * 40, split="train", column="Prompt", sample=24, rows=1632, repeated=3
)


def results(text: str) -> list[EvalResult]:
    """Return the results of a card, as the library loads them."""
    found = ModelCard(text).data.eval_results
    assert found
    return list(found)


def test_the_library_loads_the_results_that_the_report_has(plan: TargetPlan, report: Report) -> None:
    found = {result.metric_type: result for result in results(card(plan, report))}
    assert {"psnr", "ssim", "clip_score"} <= found.keys() <= report.metrics.keys()
    for name, result in found.items():
        assert result.metric_value == pytest.approx(report.metrics[name].value, rel=0.01)
        assert (result.task_type, result.dataset_type) == ("text-to-image", "prompts")
        assert result.dataset_name == "24 prompts with 2 seeds, in publish/plan.json"
        assert result.verified is None
    assert found["psnr"].metric_name.startswith("psnr in dB, with 95 % confidence (")


def test_what_depends_on_the_machine_is_no_result_of_the_model(plan: TargetPlan, report: Report) -> None:
    cost = report.metrics["psnr"].model_copy(update={"unit": "s", "ratio": report.metrics["psnr"].interval})
    told = report.model_copy(update={"metrics": {**report.metrics, "latency": cost}})
    assert "latency" not in {result.metric_type for result in results(card(plan, told))}


def test_prompts_of_a_dataset_are_named_by_its_repository_and_commit(plan: TargetPlan, report: Report) -> None:
    (first, *_) = results(card(asking(plan, dataset=DATASET), report))
    assert (first.dataset_type, first.dataset_split, first.dataset_revision) == (DATASET.dataset, "train", "a" * 40)
    assert first.dataset_name == "24 prompts with 2 seeds, of nateraw/parti-prompts"


def test_the_library_writes_the_same_index_again(plan: TargetPlan, report: Report) -> None:
    data = ModelCard(card(plan, report)).data
    index = eval_results_to_model_index(data.model_name, results(card(plan, report)))
    assert model_index_to_eval_results(index)[1] == results(card(plan, report))
    assert data.model_name == "digits-flux-torchao-int8"


def test_a_hub_takes_the_card_and_keeps_its_results_when_a_tag_is_withdrawn(
    plan: TargetPlan, report: Report, tmp_path: Any
) -> None:
    text = card(plan, report)
    withdrawn = with_banner(text, "> **`v1` was withdrawn.**\n", "digits/other", "README.md")
    with running(tmp_path) as endpoint:
        api = Hub(endpoint, token="local").api
        api.create_repo("digits/one")
        for written in (text, withdrawn):
            api.upload_file(path_or_fileobj=written.encode(), path_in_repo="README.md", repo_id="digits/one")
            served = ModelCard.load(api.hf_hub_download("digits/one", "README.md", local_dir=tmp_path / "local"))
            assert served.data.eval_results == results(text)
