"""A change to a recipe leaves every other character as it is."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.recipe import Quantization
from pipeline.recipe.change import changed

DIGITS = Path(__file__).parents[2] / "recipes" / "digits" / "recipe.yaml"
INT8 = Quantization(backend="quanto", scheme="int8", keep=("proj_out", "*.proj_out"))
BLOCKS = """\
targets:
  # the small one
  small:   # for phones
    transformer:
      backend: quanto
      scheme: int4
    vae:         {backend: quanto, scheme: int8}  # few layers
  inline: {vae: {backend: quanto, scheme: int8}, transformer: {backend: quanto,
    scheme: int4}}
"""


def lines(before: str, after: str) -> list[str]:
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


def test_only_the_line_that_changes_and_the_remark_differ() -> None:
    text = DIGITS.read_text()
    after = changed(text, "bnb-int8", {"transformer": INT8}, "psnr 41 dB")
    assert lines(text, after) == [
        "+   # tuned: psnr 41 dB",
        "-     transformer: {backend: bitsandbytes, scheme: int8}",
        '+     transformer: {backend: quanto, scheme: int8, keep: ["*.proj_out", proj_out]}',
    ]


def test_a_later_remark_takes_the_place_of_an_earlier_one() -> None:
    once = changed(DIGITS.read_text(), "bnb-int8", {"transformer": INT8}, "psnr 41 dB")
    assert lines(once, changed(once, "bnb-int8", {"transformer": INT8}, "psnr 42 dB")) == [
        "-   # tuned: psnr 41 dB",
        "+   # tuned: psnr 42 dB",
    ]


def test_every_word_of_what_begins_with_a_default_is_written() -> None:
    kept = {"vae": Quantization(backend="quanto", scheme="int8", options={"a": 1})}
    after = changed(BLOCKS, "small", kept, "psnr 41 dB", begun={"vae"})
    assert "    vae:         {backend: quanto, scheme: int8, a: 1, keep: [], dtype: bfloat16}  # few layers\n" in after


@pytest.mark.parametrize("target", ["small", "inline"])
@pytest.mark.parametrize(
    "change",
    [{"transformer": INT8}, {"vae": INT8}, {"vae": INT8, "transformer": INT8}, {"vae": None}, {"transformer": None},
     {"transformer": None, "vae": INT8}],
)  # fmt: skip
def test_every_way_to_write_a_target_says_the_change_afterwards(
    target: str, change: dict[str, Quantization | None]
) -> None:
    after = changed(BLOCKS, target, change, "psnr 41 dB")
    wanted = YAML(typ="safe").load(BLOCKS)
    for name, quantization in change.items():
        del wanted["targets"][target][name]
        if quantization:
            words = {"backend": "quanto", "scheme": "int8", "keep": list(quantization.keep)}
            wanted["targets"][target][name] = words
    assert YAML(typ="safe").load(after) == wanted
    assert "# the small one" in after
    assert "# for phones" in after
