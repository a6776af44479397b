"""Recipe and plan are compared in every word that either has, or the word is exempt by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from pipeline.backends import SCHEMES
from pipeline.files import ListedFile
from pipeline.plan.comparison import EXEMPT, differences
from pipeline.plan.model import TargetPlan, required
from pipeline.plan.parts import CardMemory, LadderStep, PlannedChoice, Value
from pipeline.recipe import Prompt, Recipe, Vocabulary, quantization, read_recipe
from pipeline.recipe.clause import RecipeModel
from pipeline.tasks import TASKS
from tests.unit.test_identity import RELEASED

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of values that a type would refuse
FOUND = (PlannedChoice, LadderStep, CardMemory)  # what a budget found, which stands where it is exempt as a whole
C, D = "c" * 40, "d" * 40
PROMPTS = [{"prompt": "seven", "label": "7"}]
QUANTIZATION = {"backend": "bitsandbytes", "scheme": "nf4", "keep": ["proj_out"], "dtype": "float16"}
BESIDE = {"backend": "gguf", "scheme": "q8_0", "layers": {"proj_out": "bf16"}}
BUDGET = {"size_ratio": 0.5, "memory": "2GB", "card": "8GB", "backends": ["torchao"], "components": ["transformer"]}
LORAS = [
    {"repo": "acme/style", "revision": C, "file": "style.safetensors", "scale": 0.8, "how": "fused"},
    {"path": "./other", "file": "other.safetensors", "scale": 0.5, "how": "loaded"},
]
DATASET = {
    "dataset": "acme/prompts", "revision": C, "config": "default", "split": "train", "column": "text",
    "label": "label", "sample": 1, "seed": 5,
}  # fmt: skip
REQUIRE = {
    **{name: {"min": 0.5, "worst": 0.2} for name in ("psnr", "ssim", "ms_ssim", "latent_cosine")},
    "lpips": {"max": 0.5, "worst": 0.8},
    "clip_similarity": {"model": "acme/clip", "revision": C, "min": 0.5, "worst": 0.2},
    "dino_similarity": {"model": "acme/dino", "revision": C, "min": 0.5, "worst": 0.2},
    "clip_score": {"model": "acme/clip", "revision": C, "drop": {"max": 1.0, "worst": 5.0}},
    "label_accuracy": {"model": "acme/reader", "revision": C, "min": 0.5, "drop": {"max": 0.5}},
    "size_ratio": {"max": 0.5},
}
JUDGED = ("clip_similarity", "dino_similarity", "clip_score", "label_accuracy")


EMBEDDER = {
    "task": "feature-extraction",
    "loras": [],
    "validation": {
        "prompts": "prompts.jsonl",
        "seeds": [0],
        "call": {"pooling": "cls"},
        "require": {
            **{name: {"min": 0.5, "worst": 0.2} for name in ("cosine_similarity", "rank_correlation", "overlap_at_10")},
            "size_ratio": {"max": 0.5},
        },
    },
    "card": {"template": "feature-extraction"},
}
TEXTS = {
    "task": "text-generation",
    "loras": [],
    "validation": {
        "prompts": "prompts.jsonl",
        "seeds": [0],
        "call": {"max_new_tokens": 8},
        "require": {
            "kl_divergence": {"max": 0.5, "worst": 0.8},
            "kl_divergence_median": {"max": 0.5},
            "kl_divergence_99_9": {"max": 5.0},
            "perplexity": {"max": 20.0},
            "perplexity_ratio": {"max": 1.5},
            "same_top_token": {"min": 0.5},
            "answers_equal": {"min": 0.1},
            "size_ratio": {"max": 0.5},
        },
    },
    "card": {"template": "text-generation"},
}
SPEECH = {
    "task": "automatic-speech-recognition",
    "loras": [],
    "validation": {
        "prompts": "prompts.jsonl",
        "seeds": [0],
        "call": {"language": "en"},
        "require": {
            **{name: {"max": 0.5, "rise": {"max": 0.1, "worst": 0.5}} for name in ("wer", "cer")},
            "insertions_on_silence": {"worst": 1, "rise": {"worst": 2}},
            "token_agreement": {"min": 0.5, "worst": 0.2},
            "size_ratio": {"max": 0.5},
        },
    },
    "card": {"template": "automatic-speech-recognition"},
}
VIDEO = {
    "task": "text-to-video",
    "validation": {
        "prompts": "prompts.jsonl",
        "seeds": [3],
        "call": {"num_frames": 5},
        "require": {name: REQUIRE[name] for name in ("psnr", "ssim", "latent_cosine", "size_ratio")},
    },
    "card": {"template": "text-to-video"},
}


def recipe(budget: bool, **other: Any) -> Recipe:
    """A recipe that says everything: components or a budget, a file of prompts or a dataset, or what another has."""
    place = {"path": "./source"} if budget else {"repo": "acme/tiny", "revision": C}
    written: dict[str, Any] = {
        "source": {**place, "variant": "fp16"},
        "task": "text-to-image",
        "destination": {"namespace": "acme", "name": "{source}-{target}", "private": True},
        "targets": {"one": {"budget": BUDGET} if budget else {"transformer": [QUANTIZATION, BESIDE]}},
        "loras": LORAS,
        "build": 2,
        "validation": {
            "prompts": DATASET if budget else "prompts.jsonl",
            "seeds": [3],
            "call": {"height": 16},
            "require": REQUIRE,
            "compile": {"components": ["transformer"], "fullgraph": True, "mode": "reduce-overhead"},
            "browser": {"questions": 6},
            "device": {"memory": "4GB", "threads": 2},
        },
        "card": {"template": "text-to-image"},
    }  # fmt: skip
    vocabulary = Vocabulary(SCHEMES, frozenset(TASKS), TASKS)
    return read_recipe(json.dumps(written | other).encode(), "recipe.yaml", vocabulary)


def planned(made: Recipe) -> TargetPlan:
    """The plan of it."""
    content, asked = json.loads(RELEASED), made.model_dump(mode="json", exclude_none=True)
    part = content["components"]["transformer"]
    named = asked["targets"]["one"]
    quantized = [part["quantization"]] if "budget" in named else named["transformer"]
    budget, validation = named.get("budget"), asked["validation"]
    choice = {"components": {"transformer": "nf4"}, "size_ratio": 0.4, "memory_bytes": 1, "sqnr": 20.0}
    dataset = validation.pop("prompts") if budget else None
    content |= {
        "target": "one",
        "task": asked["task"],
        "template": asked["card"]["template"],
        "repository": made.repositories["one"],
        "private": True,
        "build": 2,
        "source": asked["source"],
        "source_card": {"license": "mit"},
        "components": {"transformer": {**part, "quantization": quantized[0]}},
        "further": {"transformer": [{**part, "quantization": each} for each in quantized[1:]]} if quantized[1:] else {},
        "budget": {"asked": budget, "found": choice, "runner_up": choice} if budget else None,
        "loras": [{**lora, "listed": {"size": 1, "sha256": "0" * 64}} for lora in asked.get("loras", [])],
        "validation": {
            **validation,
            "prompts": PROMPTS,
            "dataset": {**dataset, "rows": 2, "repeated": 1} if dataset else None,
            "judges": dict.fromkeys(JUDGED, C) if "clip_score" in validation["require"] else {},
        },
    }
    return TargetPlan.model_validate_json(json.dumps(content))


MADE = {
    "components": recipe(False),
    "budget": recipe(True),
    "embedder": recipe(False, **EMBEDDER),
    "speech": recipe(False, **SPEECH),
    "video": recipe(False, **VIDEO),
    "texts": recipe(False, **TEXTS),
}
BOTH = {name: (made, planned(made)) for name, made in MADE.items()}
ASKED = tuple(Prompt(**prompt) for prompt in PROMPTS)


def found(made: Recipe, plan: TargetPlan) -> list[str]:
    asked = ASKED if isinstance(made.validation.prompts, str) else None
    return [each.word for each in differences(made, "one", plan, asked)]


def variants(value: Any, kind: str = "") -> Iterator[tuple[str, Any]]:
    """Yield for every field beneath a value its name, and the value with another one in its place."""
    if isinstance(value, BaseModel) and not isinstance(value, ListedFile | PlannedChoice | Prompt):
        for field in type(value).model_fields:
            inner = getattr(value, field)
            if inner is not None:
                for name, other in variants(inner, f"{type(value).__name__}.{field}"):
                    yield name, value.model_copy(update={field: other})
    elif isinstance(value, dict) and value:
        for key, inner in value.items():
            for name, other in variants(inner, kind):
                yield name, {**value, key: other}
    elif isinstance(value, tuple) and value:
        for at, inner in enumerate(value):
            for name, other in variants(inner, kind):
                yield name, (*value[:at], other, *value[at + 1 :])
    else:
        yield kind, another(value)


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, tuple):
        return (*value, "x")
    if isinstance(value, dict):
        return {"x": "x"}
    if isinstance(value, Prompt):
        return value.model_copy(update={"prompt": "another"})
    return f"{value}x" if isinstance(value, str) else None


@pytest.mark.parametrize("name", BOTH)
def test_a_recipe_is_the_plan_that_was_made_of_it(name: str) -> None:
    assert found(*BOTH[name]) == []


@pytest.mark.parametrize("name", BOTH)
def test_every_word_of_a_recipe_is_compared_or_exempt_by_its_name(name: str) -> None:
    made, plan = BOTH[name]
    for field, other in variants(made):
        if field not in EXEMPT and not field.endswith("Validation.prompts"):  # a file, and what it says is compared
            assert found(other, plan), f"{field} is neither compared nor exempt"


@pytest.mark.parametrize("name", BOTH)
def test_every_word_of_a_plan_is_compared_or_exempt_by_its_name(name: str) -> None:
    made, plan = BOTH[name]
    for field, other in variants(plan):
        budgeted = field.startswith("Quantization.") or field == "PlannedValidation.prompts"  # what its commit names
        same = required(plan.task, other.validation.require) == required(plan.task, REQUIRE)
        if field == "PlannedValidation.require" and same:
            continue  # the commit of a judge, which stands among the judges as well
        unjudged = field == "PlannedValidation.judges" and not plan.validation.judges
        if field == "TargetPlan.further":
            continue  # of a budget; where there are such their words are compared
        if field not in EXEMPT and not (name == "budget" and budgeted) and not unjudged:
            assert found(made, other), f"{field} is neither compared nor exempt"


def test_the_examples_have_every_field_of_both() -> None:
    seen = {field for made, plan in BOTH.values() for value in (made, plan) for field, _ in variants(value)}
    for kind in (*below(RecipeModel), *(kind for kind in below(Value) if kind not in FOUND)):
        for field, described in kind.model_fields.items():
            names = {f"{one.__name__}.{field}" for one in (kind, *below(kind))}
            nested = "pipeline." in str(described.annotation)
            assert names & (seen | EXEMPT.keys()) or nested, f"no example has {kind.__name__}.{field}"


def below(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for found in kind.__subclasses__():
        if found.__module__ != quantization.__name__:  # those it makes of the schemes while recipes are read
            yield found
            yield from below(found)


def test_other_prompts_in_the_file_are_another_recipe() -> None:
    made, plan = BOTH["components"]
    (difference,) = differences(made, "one", plan, (Prompt(prompt="eight"),))
    assert difference.word == "prompts"
    assert differences(made, "one", plan) == []  # a recipe apart from its file says nothing of them


def test_other_words_of_a_conversation_are_another_recipe() -> None:
    made, plan = BOTH["texts"]
    said = Prompt.model_validate({**PROMPTS[0], "messages": [{"role": "user", "content": "seven"}]})
    told = Prompt(**PROMPTS[0], text="Seven.")
    for prompt in (said, told):
        assert [each.word for each in differences(made, "one", plan, (prompt,))] == ["prompts"]


def test_a_judge_that_an_older_recipe_did_not_pin_is_no_difference() -> None:
    made, plan = BOTH["components"]
    require = {
        name: {key: value for key, value in limits.items() if key != "revision"} for name, limits in REQUIRE.items()
    }
    older = plan.model_copy(update={"validation": plan.validation.model_copy(update={"require": require})})
    assert found(made, older) == []
    pinned = {**plan.validation.judges, "clip_score": D}
    moved = plan.model_copy(update={"validation": plan.validation.model_copy(update={"judges": pinned})})
    assert found(made, moved) == ["judges.clip_score"]
