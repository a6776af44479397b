"""Patterns of modules: what one names of which another names all; and a mix of which ``keep`` leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.backends import SCHEMES
from pipeline.recipe import Quantization, Vocabulary, problems
from pipeline.recipe.change import flow
from pipeline.recipe.patterns import covered
from pipeline.tasks import TASKS

WORDS = Vocabulary(SCHEMES, frozenset(TASKS), TASKS)
HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("pattern", "other", "all_of_it"),
    [
        ("blocks.0.attn", "blocks.0.attn", True),
        ("blocks.0.attn.to_q", "blocks.0.attn", True),
        ("blocks.0.*", "blocks.0", True),
        ("blocks.?.attn.*", "blocks.*.attn.*", True),
        ("blocks.[01].attn", "blocks.[01].attn", True),
        ("*.to_q", "*", True),
        ("blocks.0", "blocks.0.*", False),
        ("blocks.*", "blocks.?", False),
        ("*.to_q", "blocks.*", False),
        ("blocks.1*", "blocks.1", False),
        ("blocks.10", "blocks.1", False),
    ],
)
def test_a_pattern_is_covered_where_another_names_all_of_it(pattern: str, other: str, all_of_it: bool) -> None:
    assert covered(pattern, ["nothing", other]) == all_of_it


def test_a_mix_of_which_nothing_is_left_is_told_where_it_stands(tmp_path: Path) -> None:
    entry = 'transformer: {backend: gguf, scheme: q4_k, keep: [proj_out, "blocks.1*"], layers: {LAYERS}}'
    good = (HERE / "good.yaml").read_text()
    (tmp_path / "prompts.jsonl").write_text((HERE / "prompts.jsonl").read_text())

    def told(layers: str) -> list[str]:
        text = good.replace("transformer:    {backend: torchao, scheme: int8-weight-only, keep: [proj_out]}", entry)
        (tmp_path / "recipe.yaml").write_text(text.replace("LAYERS", layers))
        return [str(one).splitlines()[0] for one in problems(tmp_path / "recipe.yaml", WORDS)]

    assert told('"blocks.*": q6_k') == []
    assert told('"blocks.*": q6_k, "blocks.12.ff": q8_0') == [
        f"{tmp_path}/recipe.yaml:14:106: keep: leaves no module that 'blocks.12.ff' names; take one of them out"
    ]


def test_a_change_that_keeps_all_of_a_pattern_takes_it_out() -> None:
    mix = Quantization(
        backend="gguf", scheme="q4_k", keep=("blocks.1",), options={"layers": {"blocks.1.ff": "q8_0", "*.ff": "q6_k"}}
    )
    assert flow(mix) == '{backend: gguf, scheme: q4_k, layers: {"*.ff": "q6_k"}, keep: [blocks.1]}'
