"""What a recipe without mistakes becomes, and the mistakes that are no line of the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.errors import RecipeError
from pipeline.files import digest_of
from pipeline.plan.model import chosen
from pipeline.recipe import (
    DatasetPrompts,
    FolderSource,
    HubSource,
    InvalidRecipe,
    Prompt,
    Recipe,
    Vocabulary,
    load,
    names,
    problems,
    read_prompts,
    read_recipe,
)
from pipeline.recipe.change import require_own_words

HERE = Path(__file__).parent
GOOD = HERE / "good.yaml"
TEXT = GOOD.read_text(encoding="utf-8")


@pytest.fixture
def written(tmp_path: Path, vocabulary: Vocabulary):
    """Load a text as a recipe beside the prompts."""
    (tmp_path / "prompts.jsonl").write_bytes((HERE / "prompts.jsonl").read_bytes())

    def write(text: str | bytes) -> Recipe:
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, vocabulary).recipe

    return write


def test_a_recipe_is_read_as_written_with_its_place(vocabulary: Vocabulary) -> None:
    loaded = load(GOOD, vocabulary)
    assert loaded.text == GOOD.read_bytes()
    assert loaded.resolve(loaded.recipe.validation.prompts) == HERE / "prompts.jsonl"
    assert isinstance(loaded.recipe.source, HubSource)
    assert loaded.recipe.repositories == {
        "bnb-nf4": "my-org/FLUX.1-dev-bnb-nf4",
        "torchao-int8": "my-org/FLUX.1-dev-torchao-int8",
    }
    assert problems(GOOD, vocabulary) == []


LADDER = "  ladder: {cards: [16GB, 8GB, 12.5 GiB], backends: [torchao, quanto], components: [transformer]}\n"


def test_a_ladder_is_a_target_with_a_budget_for_each_card(written, vocabulary: Vocabulary) -> None:
    recipe = written(TEXT.replace("  torchao-int8:", f"{LADDER}  torchao-int8:"))
    assert list(recipe.repositories.items()) == [
        ("bnb-nf4", "my-org/FLUX.1-dev-bnb-nf4"),
        ("16gb", "my-org/FLUX.1-dev-16gb"),
        ("8gb", "my-org/FLUX.1-dev-8gb"),
        ("12.5gib", "my-org/FLUX.1-dev-12.5gib"),
        ("torchao-int8", "my-org/FLUX.1-dev-torchao-int8"),
    ]
    asked = {"backends": ["quanto", "torchao"], "components": ["transformer"]}
    assert recipe.budget("12.5gib").model_dump(mode="json") == {"card": "12.5 GiB", **asked}
    assert recipe.budget("12.5gib").card_bytes == 12.5 * 2**30
    assert recipe.named("8gb") == {}
    by_hand = "".join(
        f"  {name}: {{budget: {{card: {card}, backends: [quanto, torchao], components: [transformer]}}}}\n"
        for name, card in {"8gb": "8GB", "12.5gib": "12.5 GiB", "16gb": "16GB"}.items()
    )
    assert written(TEXT.replace("  torchao-int8:", f"{by_hand}  torchao-int8:")) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json(), context=vocabulary) == recipe


def test_two_targets_of_one_name_are_refused_wherever_a_recipe_comes_from(written) -> None:
    whole = written(TEXT.replace("  torchao-int8:", f"{LADDER}  torchao-int8:")).model_dump()
    whole["targets"]["again"] = {"cards": ("8GB",)}
    with pytest.raises(ValidationError, match="the ladder's step is called '8gb' as another target is"):
        Recipe.model_validate(whole)


def test_modules_to_keep_are_a_set(written) -> None:
    found = [written(TEXT.replace("keep: [proj_out]", f"keep: {keep}")) for keep in ("[b, a]", "[a, b]", "[a, b, a]")]
    assert found[0] == found[1] == found[2]


def test_the_digest_does_not_depend_on_what_the_author_spelled_out(written) -> None:
    spelled = TEXT.replace(
        "double_quant: true", "double_quant: true, compute_dtype: bfloat16, dtype: bfloat16, keep: []"
    )
    assert digest_of(written(spelled).model_dump(mode="json")) == digest_of(written(TEXT).model_dump(mode="json"))
    assert written(TEXT.replace("min: 18", "min: 18.0")) == written(TEXT)
    assert "ssim" not in written(TEXT).model_dump_json()


DATASET = "{dataset: a/b, revision: 1234567890123456789012345678901234567890, split: 1e5, column: no, sample: 24}"


def test_prompts_of_a_dataset_are_read_as_written_and_not_looked_at(written, vocabulary) -> None:
    recipe = written(TEXT.replace("prompts: prompts.jsonl", f"prompts: {DATASET}"))
    assert recipe.validation.prompts == DatasetPrompts(
        dataset="a/b", revision="1234567890" * 4, split="1e5", column="no", sample=24, seed=0
    )
    assert Recipe.model_validate_json(recipe.model_dump_json(), context=vocabulary) == recipe
    spelled = written(TEXT.replace("prompts: prompts.jsonl", f"prompts: {DATASET[:-1]}, seed: 0}}"))
    assert digest_of(spelled.model_dump(mode="json")) == digest_of(recipe.model_dump(mode="json"))


def test_whoever_names_a_ladder_is_told_what_its_targets_are_called(written) -> None:
    with pytest.raises(RecipeError) as raised:
        chosen(written(TEXT.replace("targets:\n", f"targets:\n{LADDER}")), ["ladder"])
    assert raised.value.remedy.endswith("; a ladder is one target a card: 16gb, 8gb, 12.5gib.")


def test_a_size_may_be_spelled_in_any_case() -> None:
    assert names.bytes_of(names.size("8gb")) == names.bytes_of("8GB") == 8 * 10**9
    assert names.bytes_of(names.size("1.5 gIb")) == names.bytes_of("1.5 GiB") == 3 * 2**29


def test_a_file_of_more_prompts_than_can_be_asked_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(f'{{"prompt": "a cat in {number}"}}\n' for number in range(10_001)), encoding="utf-8")
    with pytest.raises(RecipeError, match="There are 10001 prompts, and at most 10000"):
        read_prompts(path)


@pytest.mark.parametrize("revision", ["1234567890" * 4, "0" * 40, "1e5" + "0" * 37, "0x" + "1" * 38])
def test_a_revision_keeps_its_spelling(written, revision: str) -> None:
    text = TEXT.replace("3de623fc3c33e44ffbe2bad470d0f45bccf2eb21", revision)
    if "x" in revision:
        with pytest.raises(InvalidRecipe, match="is a branch or tag"):
            written(text)
    else:
        assert written(text).source.revision == revision


@pytest.mark.parametrize("word", ["no", "0123456", "1e5", "1_000", "2026-01-31", "true", "0o17"])
def test_a_name_is_the_word_that_was_written(written, word: str) -> None:
    assert written(TEXT.replace("my-org", word)).destination.namespace == word


def test_a_component_whose_name_is_like_a_word_of_targets_is_one(written) -> None:
    recipe = written(TEXT.replace("    transformer:", "    unet:"))
    assert {name for target in recipe.targets for name in recipe.named(target)} >= {"unet"}
    assert recipe.model_dump(warnings="error")


def test_free_values_follow_yaml_1_2(written) -> None:
    call = "call: {a: no, b: 0123, c: 1e2, d: true, e: null, f: '1', g: 2026-01-31, h: 0x10, i: 12:30, j: 1_0, k: }"
    recipe = written(TEXT.replace(next(line for line in TEXT.split("\n") if "call:" in line), "  " + call))
    values = {"a": "no", "b": 123, "c": 100.0, "d": True, "e": None, "f": "1", "g": "2026-01-31"}
    assert recipe.validation.call == values | {"h": 16, "i": "12:30", "j": "1_0", "k": None}
    assert [type(value) for value in recipe.validation.call.values()][:4] == [str, int, float, bool]


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text])
def test_line_ends_and_byte_order_marks_change_nothing(written, change) -> None:
    assert written(change(TEXT)) == written(TEXT)


@pytest.mark.parametrize(("before", "end"), [("\ufeff", "\n"), ("", "\r\n"), ("", "\r")])
def test_nor_do_they_change_the_place_of_a_problem(
    tmp_path: Path, vocabulary: Vocabulary, before: str, end: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes((before + end.join(["sorce: {}", "", "taks: x", ""])).encode())
    places = [(found.line, found.column, found.excerpt) for found in problems(path, vocabulary)]
    assert {(1, 1, "sorce: {}"), (3, 1, "taks: x")} <= {*places}


def test_a_page_that_nobody_can_review_is_not_read(tmp_path: Path, vocabulary: Vocabulary) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"#" * ((128 << 10) + 1))
    (found,) = problems(path, vocabulary)
    assert found.text == "larger than 128 KiB; a recipe is a page that people review"
    path.write_bytes(b"#" * (128 << 10))
    assert "KiB" not in problems(path, vocabulary)[0].text


def test_a_folder_is_a_source_and_names_its_components_libraries(written, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model_index.json").write_text(
        '{"transformer": ["diffusers", "T"], "text_encoder_2": ["x", "C"]}'
    )
    source = "\n".join(TEXT.split("\n")[2:4])
    recipe = written(TEXT.replace(source, "  path: tiny"))
    assert recipe.source == FolderSource(path="tiny")
    assert recipe.repositories["bnb-nf4"] == "my-org/tiny-bnb-nf4"


def test_either_kind_of_source_may_name_a_variant_and_says_nothing_of_it_otherwise(written, tmp_path: Path) -> None:
    plain = written(TEXT)
    assert "variant" not in plain.model_dump()["source"]
    source = "\n".join(TEXT.split("\n")[2:4])
    of_hub = written(TEXT.replace(source, f"{source}\n  variant: fp16")).source
    assert of_hub == plain.source.model_copy(update={"variant": "fp16"})
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model_index.json").write_text(
        '{"transformer": ["diffusers", "T"], "text_encoder_2": ["x", "C"]}'
    )
    of_folder = written(TEXT.replace(source, "  path: tiny\n  variant: non_ema")).source
    assert of_folder == FolderSource(path="tiny", variant="non_ema")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flux.yml", "there is no such file; did you mean 'flux.yaml'?"),
        (".", "this is a folder; name the recipe in it"),
        ("pipe.yaml", "this is no file to read, but a pipe or a device"),
        ("gone.yaml", "there is no such file"),  # and a link to it is none that is meant
    ],
)
def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path, vocabulary: Vocabulary, name: str, said: str) -> None:
    (tmp_path / "flux.yaml").touch()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "gone.yaml").symlink_to("nowhere.yaml")
    (found,) = problems(tmp_path / name, vocabulary)
    assert str(found) == f"{tmp_path / name}: {said}"


def test_an_invalid_recipe_is_an_error_with_a_remedy(vocabulary: Vocabulary) -> None:
    path = HERE / "bad" / "unknown_key.yaml"
    with pytest.raises(RecipeError) as caught:
        load(path, vocabulary)
    assert caught.value.exit_code == 2
    lines = str(caught.value).split("\n")
    assert lines[0].endswith("unknown key 'shceme'; did you mean 'scheme'?")
    assert lines[-1] == f"{path}: The recipe has one problem. Correct the recipe, then run `publish check {path}`."


@pytest.mark.parametrize(
    "bomb",
    [
        "a: " + "[" * 60_000,
        "a: " + "{a: " * 30_000,
        "- " * 60_000,
        "".join(f"{' ' * depth}a:\n" for depth in range(450)),
        "a: " + "9" * 120_000,
        "a: 1e" + "9" * 120_000,
        "".join(f"k{number}: &a{number} 1\n" for number in range(8_000)),
        "a: [" + "*a, " * 30_000 + "]",
        "? " * 60_000,
        "#" * 120_000,
        "\n" * 120_000,
        "x" * (1 << 20),
    ],
    ids=lambda bomb: bomb[:12].strip().replace("\n", " "),
)
def test_absurd_files_are_refused_in_seconds(bomb: str, written) -> None:
    started = time.monotonic()
    with pytest.raises(InvalidRecipe) as caught:
        written(bomb)
    assert time.monotonic() - started < 20
    assert len(str(caught.value)) < 100_000


def test_a_recipe_made_by_a_program_is_held_to_the_same_rules(vocabulary: Vocabulary) -> None:
    document = load(GOOD, vocabulary).recipe.model_dump(mode="json")
    document["destination"]["name"] = "flux"
    with pytest.raises(ValidationError, match="all 2 targets would be called 'flux'"):
        Recipe.model_validate_json(json.dumps(document), context=vocabulary)


def test_prompts_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a seven", "label": "7"}\n\n{"prompt": "a fox"}\n')
    assert read_prompts(path) == (Prompt(prompt="a seven", label="7"), Prompt(prompt="a fox"))
    path.write_text("{}\n")
    with pytest.raises(RecipeError, match="Line 1: the key 'prompt' is missing"):
        read_prompts(path)


def test_reading_a_recipe_imports_no_torch() -> None:
    program = (
        "import sys, pipeline.recipe; print([m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=HERE.parents[1]
    )
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("text", [b"# nothing\n", b"{}\n", b"~\n", b"''", b""], ids=str)
def test_a_recipe_of_a_release_that_says_nothing_is_told_so(text: bytes, vocabulary: Vocabulary) -> None:
    with pytest.raises(InvalidRecipe, match=r"the recipe is empty|a recipe is a mapping"):
        read_recipe(text, "publish/recipe.yaml", vocabulary)


def test_names_that_clash_are_told_of_a_release_too(vocabulary: Vocabulary) -> None:
    text = TEXT.replace('"{source}-{target}"', "flux").encode()
    with pytest.raises(InvalidRecipe, match="flux"):
        read_recipe(text, "publish/recipe.yaml", vocabulary)


def test_a_list_with_two_kinds_of_faults_has_both_told(tmp_path: Path, vocabulary: Vocabulary) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(TEXT.replace("seeds: [0, 1]", "seeds: [-1, x]"), encoding="utf-8")
    said = " ".join(problem.message for problem in problems(recipe, vocabulary))
    assert "-1 is out of range" in said
    assert "found the text 'x'" in said


def test_a_word_of_two_lines_is_told_in_one(tmp_path: Path, vocabulary: Vocabulary) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(TEXT.replace('"{source}-{target}"', '"{source}\\n{taget}"'), encoding="utf-8")
    (said,) = [problem.message for problem in problems(recipe, vocabulary) if "taget" in problem.message]
    assert said.endswith("did you mean '{source}\\n{target}'?")


BLOCKS = """
shared:
  - &four {backend: bitsandbytes, scheme: nf4, double_quant: true, keep: [proj_out]}
  - &half {dtype: float16, scheme: fp4}
  - anything: &both {transformer: *four, text_encoder_2: {<<: *four, keep: []}}
"""


def test_targets_share_blocks_by_anchors_and_merges(written) -> None:
    before, after = TEXT.split("targets:\n")[0], TEXT[TEXT.index("validation:") :]
    plain = "    transformer: {backend: bitsandbytes, scheme: nf4, double_quant: true, keep: [proj_out]}\n"
    encoder = "    text_encoder_2: {backend: bitsandbytes, scheme: nf4, double_quant: true, keep: []}\n"
    other = plain.replace("nf4", "fp4").replace("]}", "], dtype: float16}")
    said = written(f"{before}targets:\n  a:\n{plain}{encoder}  b:\n{plain}{encoder}  c:\n{other}{encoder}{after}")
    shared = written(
        f"{before}{BLOCKS}targets:\n  a: *both\n  b: {{<<: *both}}\n"
        f"  c: {{<<: *both, transformer: {{<<: [*half, *four]}}}}\n{after}"
    )
    assert shared == said


def test_a_hundred_targets_may_share_their_settings(written) -> None:
    targets = "".join(f"  t{number}: *both\n" for number in range(100))
    text = TEXT[: TEXT.index("targets:")] + BLOCKS + f"targets:\n{targets}" + TEXT[TEXT.index("validation:") :]
    assert len(written(text).targets) == 100


def test_a_mistake_in_a_shared_block_is_told_once_and_where_it_stands(tmp_path: Path, vocabulary: Vocabulary) -> None:
    path = tmp_path / "recipe.yaml"
    targets = "".join(f"  t{number}: *both\n" for number in range(9))
    text = f"{TEXT[: TEXT.index('targets:')]}{BLOCKS}targets:\n{targets}{TEXT[TEXT.index('validation:') :]}"
    path.write_text(text.replace("scheme: nf4", "scheme: nf5", 1))
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "x"}\n')
    (found,) = problems(path, vocabulary)
    line = text.split("\n").index(next(line for line in text.split("\n") if "&four" in line)) + 1
    assert (found.line, found.column) == (line, "  - &four {backend: bitsandbytes, scheme: nf5".index("nf5") + 1)


def test_an_alias_is_text_where_text_is_declared_and_a_number_where_a_number_is(written) -> None:
    text = TEXT.replace("my-org", "&four 4").replace("seeds: [0, 1]", "seeds: [*four]")
    recipe = written(text)
    assert (recipe.destination.namespace, recipe.validation.seeds) == ("4", (4,))


def test_what_shares_by_aliases_is_not_tuned_in_place(vocabulary: Vocabulary) -> None:
    loaded = load(GOOD, vocabulary)
    require_own_words(loaded, ["bnb-nf4"])
    with pytest.raises(RecipeError, match="would change others") as caught:
        require_own_words(replace(loaded, text=b"a: &x 1\nb: *x\n"), ["bnb-nf4"])
    assert caught.value.where == f"{GOOD}:2:4"


@pytest.mark.parametrize(
    ("template", "source", "called"),
    [
        ("{source}-{target}", "black-forest-labs/FLUX.1-dev", "FLUX.1-dev"),
        ("SmolLM2-135M-Instruct-{target}", "./source", "SmolLM2-135M-Instruct"),
        ("{target}", "./models/tiny", "tiny"),
        ("{target}_of_{source}", "./models/tiny", "of_tiny"),
    ],
)
def test_files_are_named_after_the_repository_without_the_target(template: str, source: str, called: str) -> None:
    assert names.render_model(template, source.rpartition("/")[2]) == called
