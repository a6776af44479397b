"""No number stands in a card that its report and plan do not have."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import DictLoader

from pipeline.card.audit import mappings, pieces, split, unknown, untrue
from pipeline.card.metadata import SourceCard
from pipeline.card.render import packaged
from pipeline.card.stage import compose
from pipeline.errors import CardError
from pipeline.plan.model import TargetPlan
from pipeline.recipe import Prompt
from pipeline.validate import Report
from tests.cards.conftest import SOURCE, card, known, recorded

TARGETS = ("torchao-int8", "bnb-nf4")
CARDS = {target: card(*recorded(target)) for target in TARGETS}
KNOWN = {target: known(*recorded(target)) for target in TARGETS}
PLACES = [(target, at) for target, text in CARDS.items() for at, char in enumerate(text) if char.isdigit()]
# What nobody can tell apart, for it is true as well: YAML has no trailing zeros, so 0.580 is 0.58, which 0.582 is at
# two digits; a prompt that is shown with both seeds; the kept modules of two blocks. And what is not of its place: a
# number and the ends of its interval, one digit apart; the limit of another metric.
ALIKE = ("value: ", "with seed ", "encoder.block.")
template = packaged("text-to-image.md.jinja")
TEMPLATE = template[0] if template else ""


def changed(text: str, at: int, by: int) -> str:
    return text[:at] + str((int(text[at]) + by) % 10) + text[at + 1 :]


def alike(text: str, at: int, by: int) -> bool:
    """Return whether a digit that is changed makes a card say something else that is known there."""
    other = changed(text, at, by)
    line = text[: text.find("\n", at)].rpartition("\n")[2]
    word = next(found[0] for found in re.finditer(r"[\d.,]+", other) if found.start() <= at < found.end())
    limits = (f"at least {word}", f"at most {word}")
    return (
        word in re.findall(r"[\d.,]+", line)
        or any(limit in text for limit in limits)
        or any(w in text[max(0, at - 24) : at] for w in ALIKE)
    )


@pytest.mark.parametrize("target", TARGETS)
def test_the_cards_that_were_recorded_are_true(target: str) -> None:
    assert untrue(CARDS[target], KNOWN[target]) == []


@given(st.sampled_from(PLACES), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_a_digit_that_is_changed_anywhere_in_a_card_is_noticed_on_its_line(place: tuple[str, int], by: int) -> None:
    target, at = place
    text = CARDS[target]
    found = untrue(changed(text, at, by), KNOWN[target])
    assert found or alike(text, at, by)
    if found and at > text.index("\n---\n"):  # a value of the metadata is found again by its text
        assert text[:at].count("\n") + 1 in {one.line for one in found}


@pytest.mark.parametrize("target", TARGETS)
def test_of_all_digits_of_a_card_hardly_one_can_be_changed_unnoticed(target: str) -> None:
    head, body = split(CARDS[target])
    read = [*mappings(head), *(cells for _, cells in pieces(body))]
    missed, tried = [], 0
    for cells in read:
        for number, (above, text) in enumerate(cells):
            for at in [at for at, char in enumerate(text) if char.isdigit()]:
                for by in range(1, 10):
                    other = [*cells[:number], (above, changed(text, at, by)), *cells[number + 1 :]]
                    tried += 1
                    missed += [] if list(unknown(other, KNOWN[target])) else [text[max(0, at - 20) : at + 10]]
    assert tried > 2000
    assert len(missed) <= tried / 200, missed


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ("It is 12.5 dB better than others.", "12.5"),
        ("It is 2x faster.", "2x"),
        ("It was judged on 4,096 prompts.", "4,096"),
        ("psnr 40.25 dB", "40.25"),
        ("Half of all users like it, 51 %.", "51"),
        ("| metric | here |\n| --- | --- |\n| psnr | 61.2 dB |", "61.2"),
        ("```python\nspeed_up = 3\n```", "3"),
        ("![99.9 of 100](images/worst.png)", "99.9"),
        ("<b>99.9</b>", "b>99.9</b"),
    ],
)
def test_a_template_that_claims_a_number_of_its_own_is_refused(
    added: str, told: str, plan: TargetPlan, report: Report
) -> None:
    usage = packaged("usage.py.jinja")
    assert usage
    loader = DictLoader({"text-to-image.md.jinja": f"{TEMPLATE}\n{added}\n", "usage.py.jinja": usage[0]})
    with pytest.raises(CardError, match="which is no number of its report or plan") as caught:
        compose(plan, report, SOURCE, executed=True, loader=loader)
    assert caught.value.exit_code == 7
    assert repr(told) in caught.value.what
    line = int(caught.value.where.removeprefix("README.md:"))
    assert line > len(card(plan, report).splitlines())


def test_the_numbers_of_another_report_are_not_those_of_this_one(plan: TargetPlan, report: Report) -> None:
    psnr = report.metrics["psnr"]
    other = report.model_copy(update={"metrics": {**report.metrics, "psnr": psnr.model_copy(update={"value": 61.25})}})
    assert [one.shown for one in untrue(card(plan, other), known(plan, report))] == ["61.25", "61.25"]


def test_the_number_of_one_metric_does_not_pass_for_that_of_another(plan: TargetPlan, report: Report) -> None:
    text = card(plan, report).replace("\n| psnr |", "\n| ssim |", 1)
    assert [one.shown for one in untrue(text, known(plan, report))]


def test_the_sources_own_number_does_not_pass_for_the_models(plan: TargetPlan, report: Report) -> None:
    row = next(line for line in card(plan, report).splitlines() if line.startswith("| clip"))
    cells = row.split(" | ")
    cells[1], cells[2] = "12.3 points", cells[1]
    assert "12.3" in [one.shown for one in untrue(" | ".join(cells), known(plan, report))]


def test_text_of_others_may_hold_numbers_where_it_is_repeated_word_for_word(plan: TargetPlan, report: Report) -> None:
    odd = {"license": "other", "license_name": "own-2.7 (of 1999), 3rd *edition*", "license_link": "LICENSE-2.7"}
    pairs = tuple(
        pair.model_copy(update={"text": "7" if pair.prompt % 2 else "42 cats at 3:15, 100% `real`"})
        for pair in report.pairs
    )
    prompts = (Prompt(prompt="7", label="7"), Prompt(prompt="42 cats at 3:15, 100% `real`"))
    asked = plan.model_copy(update={"validation": plan.validation.model_copy(update={"prompts": prompts})})
    text = card(asked, report.model_copy(update={"pairs": pairs}), SourceCard(odd))
    assert "own-2.7 (of 1999), 3rd" in text
    again = text.replace("42 cats", "43 cats").replace("own-2.7", "own-2.8")
    noticed = {
        one.shown for one in untrue(again, known(asked, report.model_copy(update={"pairs": pairs}), SourceCard(odd)))
    }
    assert {"own-2.8", "1999", "3rd"} <= noticed
