"""Templates have no numbers of their own: whatever a card counts or measures is looked up in plan and report."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from jinja2 import DictLoader

from pipeline.card.render import packaged, sandbox
from tests.cards.conftest import TEMPLATES

OURS = (  # with a digit that is no number of a model
    *("95 %", "SHA-256", "%.2f", "utf-8"),
    # What ComfyUI and comfy-kitchen call formats, layouts and tensors.
    *("nvfp4", "mxfp8", "int8_tensorwise", "int8", "float8_e4m3fn", "TensorWiseINT8Layout", "TensorCoreFP8Layout"),
    "weight_scale_2",
)


def digits(name: str, template: str) -> Iterator[str]:
    """Return what a template says with a digit, outside of expressions or in their texts, but for words of ours.

    Code says something in its comments and its texts; its indices are no claims.
    """
    for _, kind, text in sandbox(DictLoader({})).lex(template):
        said = "\n".join(re.findall(r'#.*|"[^"]*"', text)) if kind == "data" and name.endswith(".py.jinja") else text
        if kind in {"data", "string"}:
            yield from re.findall(r".*\d.*", re.sub("|".join(map(re.escape, OURS)), "", said))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_has_no_number_of_its_own(name: str) -> None:
    found = packaged(name)
    assert found
    assert list(digits(name, found[0])) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("one.md.jinja", "It is 12.5 dB better."),
        ("one.md.jinja", "{{ '2x' }} faster"),
        ("one.md.jinja", "{% if plan %}51 % like it{% endif %}"),
        ("one.md.jinja", "with 95 % of 7"),
        ("one.py.jinja", "image = pipe()[0]  # 2x faster"),
        ("one.py.jinja", 'print("51 % like it")'),
    ],
)
def test_a_number_is_found_wherever_a_template_has_it(name: str, text: str) -> None:
    assert list(digits(name, text))


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name.endswith(".py.jinja")])
def test_a_snippet_has_python_quote_what_is_not_its_own(name: str) -> None:
    found = packaged(name)
    assert found
    assert re.findall(r'.*\W"\{\{.*', found[0]) == []
