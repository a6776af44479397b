"""Metadata: the YAML block at the head of a card, with what it repeats of the source's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.backends import loaders
from pipeline.card.render import interval, rounded
from pipeline.files import counted
from pipeline.plan.model import TargetPlan
from pipeline.source.model_card import LICENSE_KEYS
from pipeline.tasks import TASKS
from pipeline.validate import Finding, Report

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


@dataclass(frozen=True)
class SourceCard:
    """What the source's own card says that a derived card must repeat.

    Attributes:
        metadata: What its metadata say, by key.
        url: Its page on the Hub; empty for a folder.
    """

    metadata: Mapping[str, Any]
    url: str = ""

    @property
    def license(self) -> dict[str, str]:
        """Its license fields, each as one text."""
        return {key: ", ".join(texts_of(self.metadata[key])) for key in LICENSE_KEYS if key in self.metadata}


def texts_of(value: object) -> list[str]:
    """Return the texts of a text or of a list of texts."""
    return [str(part) for part in value] if isinstance(value, list) else [str(value)]


def metadata(plan: TargetPlan, report: Report, source: SourceCard) -> str:
    """Return the YAML block that the Hub reads, with the license fields as the source has them."""
    from huggingface_hub import ModelCardData

    backends = sorted({part.quantization.backend for _, part in plan.artifacts})
    schemes = sorted({part.quantization.scheme for _, part in plan.artifacts})
    known = loaders((part.library, part.quantization.backend) for part in plan.components.values())
    fields: dict[str, Any] = {
        key: source.metadata[key] for key in (*LICENSE_KEYS, "language") if key in source.metadata
    }
    if plan.source.repo:
        fields |= {"base_model": plan.source.repo, "base_model_relation": "quantized"}
    fields |= {
        "library_name": next((loader.library for loader in known if loader.library), TASKS[plan.task].library),
        "pipeline_tag": source.metadata.get("pipeline_tag", TASKS[plan.task].tag or plan.task),
    }
    in_browser = any(use.kind == "browser" and use.verdict == "PASS" for use in report.uses)
    fields["tags"] = ["quantized", *backends, *schemes, *(["transformers.js"] if in_browser else []), "quantpress"]
    fields |= {"model_name": plan.repository.rpartition("/")[2], "eval_results": results(plan, report)}
    return f"{ModelCardData(**fields).to_yaml()}\n"


def results(plan: TargetPlan, report: Report) -> list[EvalResult]:
    """Return the metrics as the Hub shows them on a model's page, in the form of its ``model-index``.

    The newer ``.eval_results/`` is for benchmarks that are registered with the Hub, which reference prompts are not.
    https://huggingface.co/docs/hub/eval-results
    """
    from huggingface_hub import EvalResult

    asked = plan.validation
    seeds = f" with {counted(len(asked.seeds), 'seed')}" if TASKS[plan.task].seeded else ""
    counts = f"{counted(len(asked.prompts), 'prompt')}{seeds}"
    where: dict[str, Any] = {"dataset_type": "prompts", "dataset_name": f"{counts}, in publish/plan.json"}
    if dataset := asked.dataset:
        named = f"{counts}, of {dataset.dataset}"
        where = {"dataset_type": dataset.dataset, "dataset_name": named, "dataset_config": dataset.config}
        where |= {"dataset_split": dataset.split, "dataset_revision": dataset.revision}
    return [
        EvalResult(
            task_type=plan.task,
            metric_type=name,
            metric_value=float(rounded(found.value, found.interval)),
            metric_name=in_words(name, found),
            **where,
        )
        for name, found in report.metrics.items()
        if found.interval and not found.ratio  # what answers show; what a model costs depends on the machine
    ]


def in_words(name: str, found: Finding) -> str:
    """Return what a metric's value is, such as ``psnr in dB, with 95 % confidence (53.20 to 53.88)``."""
    unit, sure = f" in {found.unit}" if found.unit else "", interval(found.interval)
    own = found.reference
    source = f", the source's own {rounded(own, found.interval)}" if own is not None else ""
    return f"{name}{unit}{f', with 95 % confidence{sure}' if sure else ''}{source}"
