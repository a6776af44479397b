"""Whatever is in the file, the answer is a recipe or `InvalidRecipe`; and every recipe survives JSON and YAML."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.files import digest_of
from pipeline.recipe import Recipe, Vocabulary, load, problems

HERE = Path(__file__).parent
GOOD = (HERE / "good.yaml").read_text(encoding="utf-8")
WORDS = sorted({word for word in GOOD.replace(":", " ").replace(",", " ").split() if word.isidentifier()})

quick = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(WORDS), st.just("main")
)
keys = st.one_of(st.sampled_from(WORDS), st.text(max_size=8))
junk = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=25,
)


def answer(folder: Path, content: bytes, vocabulary: Vocabulary) -> Recipe | None:
    path = folder / "recipe.yaml"
    path.write_bytes(content)
    found = problems(path, vocabulary)
    assert all(str(problem).startswith(str(path)) and "\n" not in problem.message for problem in found)
    assert all(str(problem).encode() for problem in found)
    return None if found else load(path, vocabulary).recipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts.jsonl").write_bytes((HERE / "prompts.jsonl").read_bytes())
    (tmp_path / "model").mkdir()
    return tmp_path


@quick
@given(document=st.dictionaries(keys, junk, max_size=7))
def test_no_mapping_of_junk_crashes_the_reader(document: dict[str, Any], folder: Path, vocabulary: Vocabulary) -> None:
    stream = io.BytesIO()
    YAML(typ="safe", pure=True).dump(document, stream)
    answer(folder, stream.getvalue(), vocabulary)


def nth_key(parent: dict[str, Any] | list[Any], step: int) -> Any:
    places = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
    return places[step % len(places)]


@quick
@given(path=st.lists(st.integers(0, 40), min_size=1, max_size=3), value=junk)
def test_no_junk_in_place_of_a_part_crashes_the_reader(
    path: list[int], value: Any, folder: Path, vocabulary: Vocabulary
) -> None:
    document = YAML(typ="safe", pure=True).load(GOOD)
    parent: Any = document
    for step in path[:-1]:
        inside = parent[nth_key(parent, step)]
        parent = inside if isinstance(inside, dict | list) and inside else parent
    parent[nth_key(parent, path[-1])] = value
    answer(folder, json.dumps(document).encode("utf-8", "surrogatepass"), vocabulary)


marks = st.text(max_size=4) | st.sampled_from("{}[]:,&*!|>'\"#-\t\n")


@quick
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(GOOD)), st.integers(0, 6), marks),
        min_size=1,
        max_size=4,
    )
)
def test_no_slip_of_the_pen_crashes_the_reader(
    edits: list[tuple[int, int, str]], folder: Path, vocabulary: Vocabulary
) -> None:
    text = GOOD
    for at, removed, inserted in edits:
        text = text[:at] + inserted + text[at + removed :]
    answer(folder, text.encode("utf-8", "surrogatepass"), vocabulary)


@quick
@given(content=st.binary(max_size=200))
def test_no_bytes_crash_the_reader(content: bytes, folder: Path, vocabulary: Vocabulary) -> None:
    assert answer(folder, content, vocabulary) is None


names = st.text("abzAZ019_", min_size=1, max_size=8).map("x{}".format)
finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
commits = st.integers(0, 16**40 - 1).map("{:040x}".format) | st.sampled_from(["0" * 40, "1" * 20 + "e" + "1" * 19])
quantizations = st.one_of(
    st.fixed_dictionaries(
        {"backend": st.just("bitsandbytes"), "scheme": st.sampled_from(["nf4", "fp4"])},
        optional={"double_quant": st.booleans(), "compute_dtype": st.sampled_from(["float16", "float32"])},
    ),
    st.fixed_dictionaries(
        {"backend": st.just("torchao"), "scheme": st.just("int4-weight-only")},
        optional={"group_size": st.sampled_from([32, 64, 128]), "keep": st.lists(texts, max_size=3)},
    ),
    st.fixed_dictionaries(
        {"backend": st.just("bitsandbytes"), "scheme": st.just("int8")},
        optional={
            "threshold": st.floats(0, 100) | st.integers(0, 100),
            "dtype": st.sampled_from(["float16", "float32"]),
        },
    ),
)
datasets = st.fixed_dictionaries(
    {
        "dataset": st.builds("{}/{}".format, names, names),
        "revision": commits,
        "split": st.sampled_from(["train", "test", "0123", "no", "2026.09"]),
        "column": texts,
    },
    optional={
        "config": texts,
        "label": texts,
        "sample": st.integers(1, 10_000),
        "seed": st.integers(0, 2**63 - 1),
    },
)
rest_of_a_budget = {
    "backends": st.lists(st.sampled_from(["bitsandbytes", "torchao", "quanto"]), max_size=3),
    "components": st.lists(st.sampled_from(["transformer", "vae"]), max_size=2),
}
ratios, sizes = st.floats(0.01, 1), st.sampled_from(["12GB", "800 MiB", "1.5TB", "7B"])
budgets = st.one_of(
    st.fixed_dictionaries({"size_ratio": ratios}, optional={"memory": sizes, **rest_of_a_budget}),
    st.fixed_dictionaries({"memory": sizes}, optional=rest_of_a_budget),
).map(lambda budget: {"budget": budget})
documents = st.fixed_dictionaries(
    {
        "source": st.one_of(
            st.fixed_dictionaries(
                {"repo": st.builds("{}/{}".format, names, names), "revision": commits},
                optional={"variant": st.just("fp16")},
            ),
            st.fixed_dictionaries({"path": st.just("model")}, optional={"variant": st.just("fp16")}),
        ),
        "task": st.just("text-to-image"),
        "destination": st.fixed_dictionaries(
            {"namespace": names.map("q{}".format)},
            optional={"private": st.booleans(), "adopt": st.booleans(), "name": st.just("x-{target}")},
        ),
        "targets": st.dictionaries(
            names.map(str.lower),
            st.dictionaries(st.sampled_from(["transformer", "vae", "text_encoder"]), quantizations, min_size=1)
            | budgets,
            min_size=1,
            max_size=3,
        ),
        "validation": st.fixed_dictionaries(
            {
                "prompts": st.just("prompts.jsonl") | datasets,
                "seeds": st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4, unique=True),
                "require": st.fixed_dictionaries(
                    {"psnr": st.fixed_dictionaries({"min": st.floats(0, 60) | st.integers(0, 60)})},
                    optional={
                        "ssim": st.fixed_dictionaries({"min": st.floats(-1, 1)}, optional={"worst": st.floats(-1, 1)}),
                        "clip_score": st.fixed_dictionaries(
                            {
                                "model": st.just("openai/clip"),
                                "revision": commits,
                                "drop": st.fixed_dictionaries({"max": st.floats(0, 9)}),
                            },
                        ),
                    },
                ),
            },
            optional={
                "call": st.dictionaries(
                    names.map("arg_{}".format),
                    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), finite, texts),
                    max_size=4,
                )
            },
        ),
        "card": st.just({"template": "text-to-image"}),
    }
)


def as_written(recipe: Recipe) -> dict[str, Any]:
    """The recipe's JSON with the options where an author writes them."""
    document = recipe.model_dump(mode="json")
    for target in document["targets"].values():
        for quantization in () if "budget" in target else target.values():
            quantization.update(quantization.pop("options"))
    return document


@quick
@given(document=documents)
def test_every_recipe_survives_json_and_yaml(document: dict[str, Any], folder: Path, vocabulary: Vocabulary) -> None:
    recipe = answer(folder, json.dumps(document).encode(), vocabulary)
    assert recipe is not None, list(map(str, problems(folder / "recipe.yaml", vocabulary)))
    assert Recipe.model_validate_json(recipe.model_dump_json(), context=vocabulary) == recipe
    stream = io.BytesIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False  # ruamel.yaml 0.19 writes "?0" in braces as it is, and does not read it there
    writer.dump(as_written(recipe), stream)
    again = answer(folder, stream.getvalue(), vocabulary)
    assert again == recipe
    assert digest_of(again.model_dump(mode="json")) == digest_of(recipe.model_dump(mode="json"))


@quick
@given(document=documents)
def test_a_commit_of_digits_stays_the_text_that_was_written(
    document: dict[str, Any], folder: Path, vocabulary: Vocabulary
) -> None:
    document["source"] = {"repo": "a/b", "revision": "1234567890" * 4}
    text = json.dumps(document).replace('"' + "1234567890" * 4 + '"', "1234567890" * 4)
    recipe = answer(folder, text.encode(), vocabulary)
    assert recipe is not None
    assert recipe.source.revision == "1234567890" * 4
