"""A commit is written where it belongs, and every other character of a recipe stays."""

from __future__ import annotations

import pytest

from pipeline.recipe.pins import find_pins, pinned

RECIPE = """\
# A recipe as people write them.
source:
  repo: acme/tiny   # the model
  variant: fp16
loras:
  - {repo: "acme/style", how: fused}   # no commit
  - repo: acme/detail
    revision:   # to come
  - path: loras/own.safetensors
validation:
  prompts: {dataset: acme/prompts, revision: '0123', split: test}
  require:
    clip_score: &clip {model: acme/clip, drop: {max: 1}}
    clip_similarity: *clip
    dino_similarity: {model: ./dino}
"""
PINNED = """\
# A recipe as people write them.
source:
  repo: acme/tiny   # the model
  revision: c0
  variant: fp16
loras:
  - {repo: "acme/style", revision: c1, how: fused}   # no commit
  - repo: acme/detail
    revision: c2   # to come
  - path: loras/own.safetensors
validation:
  prompts: {dataset: acme/prompts, revision: 'c3', split: test}
  require:
    clip_score: &clip {model: acme/clip, revision: c4, drop: {max: 1}}
    clip_similarity: *clip
    dino_similarity: {model: ./dino}
"""


@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
def test_each_commit_stands_where_it_belongs_and_nothing_else_changes(line: str) -> None:
    text = RECIPE.replace("\n", line)
    found = find_pins(text)
    assert [(pin.kind, pin.repo, pin.commit) for pin in found] == [
        ("source", "acme/tiny", ""),
        ("loras", "acme/style", ""),
        ("loras", "acme/detail", ""),
        ("datasets", "acme/prompts", "0123"),
        ("judges", "acme/clip", ""),
    ]
    assert pinned(text, {pin: f"c{number}" for number, pin in enumerate(found)}) == PINNED.replace("\n", line)


def test_a_file_that_ends_in_the_repository_gets_its_commit_in_a_line_of_its_own() -> None:
    (pin,) = find_pins("source:\n    repo: acme/tiny")
    assert pinned("source:\n    repo: acme/tiny", {pin: "c0"}) == "source:\n    repo: acme/tiny\n    revision: c0"


def test_a_key_without_a_colon_gets_one() -> None:
    (pin,) = find_pins("source: {repo: acme/tiny, revision}\n")
    assert pinned("source: {repo: acme/tiny, revision}\n", {pin: "c0"}) == "source: {repo: acme/tiny, revision: c0}\n"


def test_repositories_that_share_a_commit_by_an_alias_are_both_there_and_neither_has_it_alone() -> None:
    found = find_pins("source: {repo: acme/tiny, revision: &at c0}\nloras: [{repo: acme/style, revision: *at}]\n")
    assert [(pin.repo, pin.commit, pin.alone) for pin in found] == [
        ("acme/style", "c0", False),
        ("acme/tiny", "c0", False),
    ]
