"""Templates have no numbers of their own: whatever a card counts or measures is looked up in plan and report."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from jinja2 import DictLoader

from pipeline.card.render import packaged, sandbox
from tests.cards.conftest import TEMPLATES

OURS = ("95 %", "SHA-256", "images[0]", "%.2f")  # with a digit that is no number of a model


def digits(template: str) -> Iterator[str]:
    """Return what a template says with a digit, outside of expressions or in their texts, but for words of ours."""
    for _, kind, text in sandbox(DictLoader({})).lex(template):
        if kind in {"data", "string"}:
            yield from re.findall(r".*\d.*", re.sub("|".join(map(re.escape, OURS)), "", text))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_has_no_number_of_its_own(name: str) -> None:
    found = packaged(name)
    assert found
    assert list(digits(found[0])) == []


@pytest.mark.parametrize(
    "text",
    ["It is 12.5 dB better.", "{{ '2x' }} faster", "{% if plan %}51 % like it{% endif %}", "with 95 % of 7", "SHA-512"],
)
def test_a_number_is_found_wherever_a_template_has_it(text: str) -> None:
    assert list(digits(text))
