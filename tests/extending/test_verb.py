"""A verb is one file and one entry of a list: a stranger adds one and changes nothing else."""

from __future__ import annotations

from tests.desk import TWO
from tests.extending.conftest import Checkout, Stranger, lines_of


def test_a_stranger_adds_one_file_and_one_entry(checkout: Checkout) -> None:
    assert checkout.written["verb"] == {"cli/names.py": lines_of("verb.py"), "cli/__init__.py": 2}


def test_a_strangers_verb_is_listed_takes_the_shared_options_and_fails_as_all_do(stranger: Stranger) -> None:
    listed = stranger.publish("--help").out
    assert "names" in listed
    assert "Show which repositories a recipe publishes." in listed
    named = stranger.publish("names", stranger.recipe(TWO), "--json")
    assert named.code == 0, named.err
    assert named.lines == [{"repositories": {"one": "alice/tiny-one", "two": "alice/tiny-two"}}]
    refused = stranger.publish("names", stranger.folder / "nowhere.yaml")
    assert refused.code == 2
    assert refused.error
