"""What several recipes have in common stands in one file, and in one word of a recipe for all its targets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.files import digest_of
from pipeline.recipe import (
    InvalidRecipe,
    Loaded,
    Quantization,
    Vocabulary,
    load,
    problem_at,
    problems_of_included,
    read_recipe,
)

HERE = Path(__file__).parent
SOURCE = "source: {repo: black-forest-labs/FLUX.1-dev, revision: 3de623fc3c33e44ffbe2bad470d0f45bccf2eb21}\n"
TARGETS = "targets: {bnb-nf4: {transformer: {backend: bitsandbytes, scheme: nf4}}}\n"
COMMON = """
task: text-to-image
destination: {namespace: my-org}
validation:
  prompts: prompts.jsonl
  seeds: [0, 1]
  call: {guidance_scale: 3.5, height: 1024}
  require:
    psnr: {min: 18}
    clip_similarity: {model: ./clip, min: 0.9}
card: {template: text-to-image}
loras: [{path: style.safetensors, how: fused}]
"""


@pytest.fixture
def written(tmp_path: Path, vocabulary: Vocabulary):
    """Load a text as a recipe whose neighbour folder has what recipes share."""
    for folder in ("shared", "mine"):
        (tmp_path / folder / "clip").mkdir(parents=True)
        (tmp_path / folder / "style.safetensors").touch()
        (tmp_path / folder / "prompts.jsonl").write_text(f'{{"prompt": "of {folder}"}}\n')

    def write(text: str, **files: str) -> Loaded:
        for name, content in files.items():
            (tmp_path / "shared" / f"{name}.yaml").write_text(content)
        (tmp_path / "mine" / "recipe.yaml").write_text(text)
        return load(tmp_path / "mine" / "recipe.yaml", vocabulary, models=True)

    return write


def test_a_recipe_says_what_the_included_file_says(written) -> None:
    found = written(f"include: ../shared/common.yaml\n{SOURCE}{TARGETS}", common=COMMON)
    moved = COMMON.replace("prompts.jsonl", "../shared/prompts.jsonl").replace("./clip", "../shared/clip")
    alone = written(SOURCE + TARGETS + moved.replace("style", "../shared/style"))
    assert found.recipe == alone.recipe
    assert digest_of(found.recipe.model_dump(mode="json")) == digest_of(alone.recipe.model_dump(mode="json"))
    assert (found.included, alone.included) == ((found.path.parents[1] / "shared" / "common.yaml",), ())


def test_what_the_recipe_says_counts_key_by_key_and_lists_as_a_whole(written) -> None:
    own = "validation: {seeds: [7], call: {height: 512, width: 512}, require: {psnr: {worst: 9}}}\n"
    said = written(f"include: ../shared/common.yaml\n{SOURCE}{TARGETS}{own}", common=COMMON).recipe.validation
    assert said.seeds == (7,)
    assert said.call == {"guidance_scale": 3.5, "height": 512, "width": 512}
    assert said.require.psnr.model_dump() == {"min": 18, "worst": 9}


def test_of_two_files_the_later_one_counts(written) -> None:
    text = f"include: [../shared/common.yaml, ../shared/other.yaml]\n{SOURCE}{TARGETS}"
    found = written(text, common=COMMON, other="validation: {seeds: [5]}\n").recipe.validation
    assert (found.seeds, found.prompts) == ((5,), "../shared/prompts.jsonl")


@pytest.mark.parametrize(
    ("folder", "model"), [("mine", "./clip"), ("mine/deeper", "./deeper/clip"), (".", "../clip")], ids=str
)
def test_a_path_leads_from_the_file_that_has_it(written, tmp_path: Path, folder: str, model: str) -> None:
    place = (tmp_path / folder).resolve()
    (place / "clip").mkdir(parents=True, exist_ok=True)
    for name in ("style.safetensors", "prompts.jsonl"):
        (place / name).write_text('{"prompt": "x"}')
    (place / "common.yaml").write_text(COMMON)
    found = written(f"include: {os.path.relpath(place, tmp_path / 'mine')}/common.yaml\n{SOURCE}{TARGETS}")
    assert found.recipe.validation.require.clip_similarity.model == model
    assert found.resolve(found.recipe.validation.prompts).samefile(place / "prompts.jsonl")


def test_a_path_of_a_file_beside_the_recipe_stays_as_it_is_written(written, tmp_path: Path) -> None:
    (tmp_path / "mine" / "beside.yaml").write_text(COMMON.replace("prompts.jsonl", "./prompts.jsonl"))
    found = written(f"include: beside.yaml\n{SOURCE}{TARGETS}").recipe
    assert found.validation.prompts == "./prompts.jsonl"


def test_blocks_that_an_included_file_shares_are_no_part_of_the_recipe(written) -> None:
    common = f"shared: {{bar: &bar {{min: 18}}}}\n{COMMON.replace('psnr: {min: 18}', 'psnr: *bar')}"
    found = written(f"include: ../shared/common.yaml\n{SOURCE}{TARGETS}", common=common).recipe.validation
    assert found.require.psnr.min == 18


def test_as_many_files_are_included_as_may_be(written, tmp_path: Path) -> None:
    names = [f"part-{number}" for number in range(8)]
    files = ", ".join(f"../shared/{name}.yaml" for name in names)
    found = written(f"include: [{files}]\n{SOURCE}{TARGETS}", **dict.fromkeys(names, COMMON))
    assert len(found.included) == 8


def test_an_absolute_path_and_a_repository_stay_what_they_are(written, tmp_path: Path) -> None:
    prompts = tmp_path / "mine" / "prompts.jsonl"
    common = COMMON.replace("prompts: prompts.jsonl", f"prompts: {prompts}").replace(
        "./clip", "openai/clip, revision: 32bd64288804d66eefd0ccbe215aa642df71cc41"
    )
    found = written(f"include: ../shared/common.yaml\n{SOURCE}{TARGETS}", common=common).recipe.validation
    assert found.prompts == str(prompts)
    assert found.require.clip_similarity.model == "openai/clip"


def test_what_is_published_says_it_all_by_itself(written, vocabulary: Vocabulary) -> None:
    strange = 'loras: [{path: "\\u0085 «é»\\u2028: #.safetensors", how: fused, scale: 0.80}]\n'
    own = f'{strange}validation: {{seeds: [0x10], call: {{a: "true", b: no, c: , d: 1e2, e: [x, "1"], "f": ~}}}}\n'
    begun = 'defaults: {transformer: {keep: ["*norm*", "null"], dtype: float16}}\n'
    text = f"include: ../shared/common.yaml\n{SOURCE}{TARGETS}{begun}{own}"
    Path(written(f"{SOURCE}{TARGETS}{COMMON}").path.parent, "\x85 «é»\u2028: #.safetensors").touch()
    found = written(text, common=COMMON)
    assert found.text == text.encode()
    assert read_recipe(found.published, "publish/recipe.yaml", vocabulary) == found.recipe
    assert b"include" not in found.published.split(b"\n", 1)[1]
    assert b"\ndefaults:\n  transformer: {" in found.published
    assert max(map(len, found.published.decode().splitlines())) <= 120


def test_a_recipe_that_includes_nothing_is_published_as_it_is_written(written) -> None:
    text = f"# mine\n{SOURCE}{TARGETS}{COMMON}"
    assert written(text).published == text.encode()


def test_what_was_published_includes_nothing(vocabulary: Vocabulary) -> None:
    with pytest.raises(InvalidRecipe, match="only a recipe in a file of its own includes others"):
        read_recipe(f"include: x.yaml\n{SOURCE}{TARGETS}".encode(), "publish/recipe.yaml", vocabulary)


def test_what_is_found_later_is_told_where_it_stands(written) -> None:
    loaded = written(f"include: ../shared/common.yaml\n{SOURCE}{TARGETS}", common=COMMON)
    found = problem_at(loaded, ("card", "template"), "no card")
    line = COMMON.splitlines().index("card: {template: text-to-image}") + 1
    assert (found.file, found.line) == (str(loaded.included[0]), line)


def test_the_remedy_names_the_recipe_and_not_what_it_includes(written) -> None:
    with pytest.raises(InvalidRecipe) as caught:
        written(f"include: ../shared/common.yaml\n{SOURCE}{TARGETS}", common=COMMON.replace("seeds", "sseds"))
    (found,) = caught.value.problems
    assert found.file.endswith("shared/common.yaml")
    assert "mine/recipe.yaml: The recipe has one problem." in str(caught.value)


def quantizations(loaded: Loaded) -> dict[str, Quantization]:
    return {target: loaded.recipe.named(target)["transformer"] for target in loaded.recipe.targets}


def test_targets_begin_with_the_defaults_and_say_the_rest(written) -> None:
    begun = 'defaults: {transformer: {backend: bitsandbytes, scheme: nf4, double_quant: true, keep: ["*norm*"]}}\n'
    targets = """
targets:
  plain: {transformer: {}}
  other: {transformer: {keep: [proj_out], double_quant: false, dtype: float16}}
  sibling: {transformer: {scheme: fp4}}
  stranger: {transformer: {backend: torchao, scheme: int8-weight-only}}
"""
    nf4 = Quantization(backend="bitsandbytes", scheme="nf4", keep=("*norm*",))
    options = {"double_quant": True, "compute_dtype": "bfloat16"}
    off = {**options, "double_quant": False}
    assert quantizations(written(f"{begun}{SOURCE}{targets}{COMMON}")) == {
        "plain": nf4.model_copy(update={"options": options}),
        "other": nf4.model_copy(update={"options": off, "keep": ("proj_out",), "dtype": "float16"}),
        "sibling": nf4.model_copy(update={"options": off, "scheme": "fp4"}),  # options go with their scheme
        "stranger": Quantization(backend="torchao", scheme="int8-weight-only", keep=("*norm*",)),
    }


def test_what_an_included_file_says_of_components_of_other_recipes_is_left_to_those(written, vocabulary) -> None:
    common = f"{COMMON}defaults: {{transformer: {{keep: [a]}}, unet: {{keep: [b]}}}}\n"
    found = written(f"include: ../shared/common.yaml\n{SOURCE}{TARGETS}", common=common)
    assert quantizations(found)["bnb-nf4"].keep == ("a",)
    assert found.begun == {"transformer"}
    assert read_recipe(found.published, "publish/recipe.yaml", vocabulary) == found.recipe
    with pytest.raises(InvalidRecipe, match="no target quantizes 'unet'"):
        written(f"include: ../shared/common.yaml\n{SOURCE}{TARGETS}defaults: {{unet: {{keep: [c]}}}}\n", common=common)


def test_a_file_that_recipes_include_lacks_nothing_and_its_mistakes_are_told(written, vocabulary, tmp_path) -> None:
    written(f"include: ../shared/common.yaml\n{SOURCE}{TARGETS}", common=COMMON)
    place = tmp_path / "shared" / "_part.yaml"
    place.write_text(f"{COMMON}source: {{token: A_TOKEN}}\n")
    assert problems_of_included(place, vocabulary) == []
    place.write_text(COMMON.replace("seeds", "sedes").replace("18", "high"))
    found = problems_of_included(place, vocabulary)
    assert [(problem.file, problem.line, problem.suggestion) for problem in found] == [
        (str(place), 6, "seeds"),
        (str(place), 9, ""),
    ]
    place.unlink()
    (gone,) = problems_of_included(place, vocabulary)
    assert (gone.file, gone.line, gone.text) == (str(place), 0, "there is no such file")


def test_defaults_may_come_from_an_included_file_and_be_changed(written) -> None:
    common = f"{COMMON}defaults: {{transformer: {{keep: [a], dtype: float16}}}}\n"
    text = f"include: ../shared/common.yaml\ndefaults: {{transformer: {{keep: [b]}}}}\n{SOURCE}{TARGETS}"
    found = written(text, common=common)
    assert quantizations(found)["bnb-nf4"].keep == ("b",)
    assert quantizations(found)["bnb-nf4"].dtype == "float16"
    assert found.begun == {"transformer"}


def test_a_ladder_begins_with_it_too(written) -> None:
    begun = 'defaults: {transformer: {keep: ["*norm*"]}}\n'
    targets = "targets: {ladder: {cards: [8GB, 12GB], dtype: {transformer: float16}}}\n"
    recipe = written(f"{begun}{SOURCE}{targets}{COMMON}").recipe
    words = [recipe.budget(target).words("transformer") for target in recipe.targets]
    assert words == [{"keep": ("*norm*",), "dtype": "float16"}] * 2


def test_a_budget_begins_with_what_goes_with_any_scheme(written) -> None:
    begun = """
defaults:
  transformer: {scheme: nf4, keep: ["*norm*"], dtype: float16}
  text_encoder: {keep: [a]}
  vae: {dtype: float32}
"""
    targets = """
targets:
  small: {budget: {memory: 6GB, components: [transformer, vae], keep: {transformer: [b]}}}
  other: {text_encoder: {backend: bitsandbytes, scheme: nf4}}
"""
    found = written(f"{begun}{SOURCE}{targets}{COMMON}").recipe.budget("small")
    assert found.words("transformer") == {"keep": ("b",), "dtype": "float16"}
    assert found.words("vae") == {"dtype": "float32"}
    assert found.words("text_encoder") == {}


def test_a_recipe_with_defaults_is_the_recipe_without_them(written) -> None:
    begun = "defaults: {transformer: {keep: [proj_out]}}\n"
    keeping = TARGETS.replace("nf4}", "nf4, keep: [proj_out]}")
    assert written(begun + SOURCE + TARGETS + COMMON).recipe == written(SOURCE + keeping + COMMON).recipe
