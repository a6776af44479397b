"""A card that was published is read again by whoever verifies it, also after a tag was withdrawn."""

from __future__ import annotations

from pipeline.card.stage import SourceCard, compose, reread
from pipeline.hub.client import Hub
from pipeline.hub.withdrawn import Withdrawal
from pipeline.plan.model import TargetPlan
from pipeline.release.yank import banner, with_banner
from pipeline.validate import Report
from tests.cards.conftest import SOURCE

WHY = "It draws 6 fingers on 1 of 3 hands; 0.5 dB worse than v1.2 [see](#12)."


def test_a_card_is_true_without_the_source_it_was_written_from(plan: TargetPlan, report: Report) -> None:
    gated = SourceCard({"license": "other", "license_name": "own-2.7", "license_link": "LICENSE-2.md"})
    for source in (SOURCE, gated, SourceCard({})):
        card = compose(plan, report, source, executed=True)
        assert reread(card.text, plan, report, [card.usage]) == []


def test_a_card_with_a_withdrawal_above_it_is_as_true_as_before(plan: TargetPlan, report: Report) -> None:
    card = compose(plan, report, SOURCE, executed=True)
    withdrawal = Withdrawal(commit="a" * 40, plan=plan.digest, why=WHY, new_version="digits/other-2.0")
    text = with_banner(card.text, banner("v1", withdrawal, Hub("https://hub.example")), "digits/other-2.0", "README.md")
    repeated = [card.usage, WHY, "v1", "digits/other-2.0"]
    assert reread(text, plan, report, repeated) == []
    line = text.splitlines().index(next(line for line in text.splitlines() if "withdrawn" in line)) + 1
    assert {one.line for one in reread(text.replace("6 fingers", "7 fingers"), plan, report, repeated)} == {line}


def test_a_digit_more_in_a_served_card_is_told_with_its_line(plan: TargetPlan, report: Report) -> None:
    card = compose(plan, report, SOURCE, executed=True)
    row = next(line for line in card.text.splitlines() if line.startswith("| psnr |"))
    text = card.text.replace(row, row.replace(" dB", "5 dB", 1))
    (found,) = reread(text, plan, report, [card.usage])
    assert found.line == card.text.splitlines().index(row) + 1
