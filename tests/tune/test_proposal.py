"""What is proposed for a recipe is written where the recipe says it, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.backends import SCHEMES
from pipeline.errors import RecipeError
from pipeline.recipe import Loaded, Quantization, Vocabulary, load
from pipeline.recipe.change import require_own_words
from pipeline.tasks import TASKS
from pipeline.tune.proposal import propose
from pipeline.tune.values import Change, Tuned, TuningCandidate

WORDS = Vocabulary(SCHEMES, frozenset(TASKS), TASKS)
NF4 = {"double_quant": False, "compute_dtype": "bfloat16"}
RECIPE = """
include: common.yaml
source: {repo: black-forest-labs/FLUX.1-dev, revision: 3de623fc3c33e44ffbe2bad470d0f45bccf2eb21}
defaults: {transformer: {backend: bitsandbytes, scheme: nf4, double_quant: true, keep: ["*norm*"], dtype: float16}}
targets:
  one: {transformer: {}, text_encoder_2: {backend: bitsandbytes, scheme: nf4}}
"""
COMMON = """
task: text-to-image
destination: {namespace: my-org}
targets: {two: {text_encoder_2: {backend: bitsandbytes, scheme: nf4}}}
validation: {prompts: prompts.jsonl, seeds: [0], require: {psnr: {min: 18}}}
card: {template: text-to-image}
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    for name, text in {"recipe.yaml": RECIPE, "common.yaml": COMMON, "prompts.jsonl": '{"prompt": "x"}'}.items():
        (tmp_path / name).write_text(text)
    return load(tmp_path / "recipe.yaml", WORDS)


def tuned(change: Change) -> Tuned:
    found = TuningCandidate(words="", change=change, size_ratio=0.5, expected={}, holds=True)
    return Tuned(target="one", task="text-to-image", verdict="FAIL", size_ratio=0.4, found={}, proposal=found)


@pytest.mark.parametrize(
    "quantization",
    [
        Quantization(backend="bitsandbytes", scheme="nf4", options=NF4),  # each word is another than the default's
        Quantization(backend="bitsandbytes", scheme="int8", keep=("proj_out",), options={"threshold": 6.0}),
    ],
    ids=lambda one: one.scheme,
)
def test_a_proposal_says_what_it_means_beside_defaults(loaded: Loaded, quantization: Quantization) -> None:
    text = propose(loaded, [tuned({"transformer": quantization})], WORDS)
    loaded.path.write_text(text)
    assert load(loaded.path, WORDS).recipe.named("one")["transformer"] == quantization
    assert text.startswith(RECIPE[: RECIPE.index("  one:")])


def test_a_proposal_that_leaves_a_default_to_nobody_is_to_be_entered_by_hand(loaded: Loaded) -> None:
    with pytest.raises(RecipeError, match="no target quantizes 'transformer'") as caught:
        propose(loaded, [tuned({"transformer": None})], WORDS)
    assert "by hand" in str(caught.value)


def test_a_target_of_an_included_file_is_not_tuned(loaded: Loaded) -> None:
    require_own_words(loaded, ["one"])
    with pytest.raises(RecipeError, match="'two' comes from a file that this recipe includes"):
        require_own_words(loaded, ["one", "two"])
