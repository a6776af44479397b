"""Feature extraction: a text becomes an embedding, whose neighbours are what it is used for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from os.path import normpath
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, field_validator

from pipeline.recipe import names
from pipeline.recipe.clause import RecipeModel, optional
from pipeline.recipe.prompts import Question
from pipeline.recipe.require import SIZE_RATIO_MEANS, Likeness, RatioAtMost, Requirements
from pipeline.recipe.schema import Argument, Keyword, Seed, Validation
from pipeline.source.layout import MODULES
from pipeline.tasks import transformers_model
from pipeline.tasks.answers import Request
from pipeline.tasks.metrics import MetricInput, PairMetric, Reading, least_likeness, metrics_of
from pipeline.tasks.protocol import IDENTICAL, Given, LoadedModel, Medium, Page, Task

NEIGHBOURS: Final = 10
ALIKE: Final = 1e-5  # mean difference of the values of two unit vectors, below which they are one
CALL: Final = {"pooling": ("mean", "cls", "last"), "normalize": (True, False)}


class EmbeddingAtLeast(RecipeModel):
    """A lower bound of a likeness that is 1 for the same embeddings."""

    min: Likeness = Field(description="The least mean over all texts that passes.")
    worst: Likeness | None = optional(
        "What the worst text must keep; unless said, half of the mean's decibels, 1 - sqrt(1 - min)."
    )


def load(model: Path, dtype: str, loader: str) -> LoadedModel:
    """Load an embedder with its tokenizer, and with how sentence-transformers pools what it says."""
    found = transformers_model.load(model, dtype, loader)
    return replace(found, components={**found.components, "sentence-transformers": modules_of(model)})


def modules_of(model: Path) -> dict[str, Any]:
    """Return the modules that sentence-transformers makes a model of, in their order, and the config of each."""
    listed = model / MODULES
    entries = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else []
    names = [str(entry.get("type", "")).rpartition(".")[2] for entry in entries]
    folders = [
        Path(normpath(f"/{entry.get('path', '')}")).name for entry in entries
    ]  # no path leads out of the model's
    configs = [model / folder / "config.json" for folder in folders]
    inner = zip(names, configs, strict=True)
    found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in inner if path.is_file()}
    return {"modules": names, **{name: config for name, config in found.items() if name != "Transformer"}}


def ask(loaded: LoadedModel, request: Request, question: int, _seed: int) -> Given:
    """Embed a text alone, as an array of shape (dimensions,): in a batch the padding would be in it."""
    import torch

    embedder, call = loaded.model, request.call
    tokens = embedder.tokenizer([request.questions[question].prompt], truncation=True, return_tensors="pt")
    with torch.no_grad():  # quanto's kernels refuse inference tensors
        states = embedder.model(**tokens.to(loaded.device)).last_hidden_state[0].double()
    pooled = {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[str(call.get("pooling", "mean"))]
    if call.get("normalize", True):
        pooled = torch.nn.functional.normalize(pooled, dim=0)
    return Given(pooled.float().cpu().numpy())


def question_in_browser(question: Question, call: Mapping[str, Any], _files: str) -> tuple[str, dict[str, Any]]:
    """Return what the pipeline of transformers.js is called with to embed a text."""
    pooling = call.get("pooling", "mean")
    pooling = "last_token" if pooling == "last" else pooling
    return question.prompt, {"pooling": pooling, "normalize": call.get("normalize", True)}


def answer_in_browser(told: list[list[float]]) -> Given:
    """Return an embedding out of a list with nothing else in it."""
    import numpy as np

    return Given(np.asarray(told[0], np.float32))


def save(given: Given, path: Path) -> None:
    """Write an embedding as float32."""
    import numpy as np

    np.save(path, np.asarray(given.values, np.float32))


def read(path: Path) -> Any:
    """Return an embedding, shape (dimensions,)."""
    import numpy as np

    return np.load(path, allow_pickle=False)


def unlike(reference: Any, candidate: Any) -> tuple[str, str] | None:
    """Return that two embeddings have other dimensions, and what to do about it."""
    if reference.shape == candidate.shape:
        return None
    what = f"The source has {len(reference)} dimensions and the candidate {len(candidate)}"
    return what, "Validate a checkpoint of this source."


def fault(embedding: Any, _: Any) -> str:
    """Return what makes an embedding none, as the end of the sentence "it is ..."; empty for one."""
    return "" if embedding.any() else "nothing but zeros"


def unit(embedding: Any) -> Any:
    """Return an embedding of length 1, in float64; zeros stay zeros."""
    import numpy as np

    values = embedding.astype(np.float64)
    return values / (np.linalg.norm(values) or 1.0)


def decibels(one: Any, other: Any) -> float:
    """Return the first array's signal over its difference from the other, in decibels."""
    import numpy as np

    own, noise = (float(np.square(array.astype(np.float64)).sum()) for array in (one, one - other))
    if not np.isfinite(noise):
        return 0.0
    return min(IDENTICAL, float(10 * np.log10(own / noise))) if noise and own else IDENTICAL


def _cosine(given: MetricInput) -> list[Reading]:
    return [Reading(float(unit(pair.reference) @ unit(pair.candidate))) for pair in given.pairs]


def _likenesses(given: MetricInput) -> tuple[Any, Any]:
    """Return how like each text is to each other one, of the source and of the candidate: shape (texts, texts)."""
    import numpy as np

    sides = ([pair.reference for pair in given.pairs], [pair.candidate for pair in given.pairs])
    own, other = (np.stack([unit(embedding) for embedding in side]) for side in sides)
    return own @ own.T, other @ other.T


def _others(row: Any, text: int) -> Any:
    """Return a text's likeness to all but itself."""
    import numpy as np

    return np.delete(row, text)


def _rank_correlation(given: MetricInput) -> list[Reading]:
    """Spearman's rank correlation (1904), by SciPy."""
    from scipy.stats import spearmanr

    rows = enumerate(zip(*_likenesses(given), strict=True))
    return [Reading(float(spearmanr(_others(own, at), _others(other, at)).statistic)) for at, (own, other) in rows]


def _overlap(given: MetricInput) -> list[Reading]:
    rows = enumerate(zip(*_likenesses(given), strict=True))
    return [Reading(len(_nearest(own, at) & _nearest(other, at)) / NEIGHBOURS) for at, (own, other) in rows]


def _nearest(row: Any, text: int) -> set[int]:
    return set(_others(row, text).argsort()[-NEIGHBOURS:].tolist())


def _lacks(texts: int, given: MetricInput) -> str:
    return "" if len(given.pairs) >= texts else f"{texts} texts or more, not {len(given.pairs)}"


def _metric(read_pairs: Any, least: int, ends: tuple[float, float]) -> PairMetric:
    return PairMetric("", "higher", read_pairs, lambda given: _lacks(least, given), ends=ends, tail=least_likeness)


class Require(Requirements):
    """What a target must reach to be published; at least one requirement."""

    cosine_similarity: Annotated[EmbeddingAtLeast | None, _metric(_cosine, 1, (-1.0, 1.0))] = optional(
        "Cosine of each embedding to the source's."
    )
    rank_correlation: Annotated[EmbeddingAtLeast | None, _metric(_rank_correlation, 4, (-1.0, 1.0))] = optional(
        "Spearman's correlation of how all other texts rank by their likeness to each, here and in the source."
    )
    overlap_at_10: Annotated[EmbeddingAtLeast | None, _metric(_overlap, NEIGHBOURS + 2, (0.0, 1.0))] = optional(
        "Share of each text's ten nearest neighbours that are its ten nearest in the source."
    )
    size_ratio: RatioAtMost | None = optional(SIZE_RATIO_MEANS)


class FeatureExtractionValidation(Validation):
    """How the targets are judged against the source."""

    seeds: tuple[Annotated[Seed, Field(le=0)], ...] = Field(
        default=(0,), min_length=1, max_length=1, description="Embeddings depend on no seed; leave this out."
    )
    call: dict[Keyword, Argument] = Field(
        default_factory=dict,
        description="`pooling`: mean (unless said), cls or last; `normalize`: true (unless said) or false.",
    )
    require: Require = Field(description="What a target must reach to be published.")

    @field_validator("call")
    @classmethod
    def _is_known(cls, call: dict[str, Argument]) -> dict[str, Argument]:
        for name, value in call.items():
            if name not in CALL or value not in CALL[name]:
                raise names.UnfitError(
                    "an embedding is made by pooling: mean, cls or last, and normalize: true or false"
                )
        return call


EMBEDDINGS: Final = Medium(
    noun="embedding",
    suffix=".npy",
    save=save,
    open=read,
    content=lambda embedding: bytes(embedding.tobytes()),
    unlike=unlike,
    fault=fault,
    sketch=unit,
    alike=ALIKE,
    decibels=decibels,
    metrics=metrics_of(Require),
    ranking="cosine_similarity",
    packages=("scipy",),
    imports=("scipy.stats",),
)

FEATURE_EXTRACTION: Final = Task(
    medium=EMBEDDINGS,
    validation=FeatureExtractionValidation,
    library="transformers",
    loader="AutoModel",
    usage="embedder.py.jinja",
    installs=("transformers", "accelerate"),
    imports=("transformers",),
    load=load,
    ask=ask,
    seeded=False,
    single=True,
    page=Page(question=question_in_browser, answer=answer_in_browser, usage="embedder.html.jinja", trial="similarity"),
)
