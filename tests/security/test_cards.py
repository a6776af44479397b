"""What a source's card and config say is data: in ours it is text, and renders nothing that acts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from ruamel.yaml import YAML

from pipeline.card.compose import compose
from pipeline.card.context import Ingredients
from pipeline.card.metadata import SourceCard
from pipeline.card.render import as_text
from pipeline.errors import SourceError
from pipeline.plan.model import TargetPlan
from pipeline.source import model_card
from pipeline.validate import Report

RECORDED = Path(__file__).parents[1] / "unit" / "recorded" / "torchao-int8"
HOSTILE = [
    "{{ 7 * 7 }}{% for x in [].__class__.__mro__ %}{{ x }}{% endfor %}",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "[free](javascript:alert(1)) ![x](https://evil.example/pixel.png) <https://evil.example>",
    "`x` **b** | a | b |\n\n# Head\n\n- item\n\n```sh\nrm -rf /\n```",
    "--- \nlicense: none\n---",
    "\u202eetil\u202c &#60;b&#62; \\",
]


def front_matter(text: str, where: str) -> dict[str, Any]:
    return model_card.front_matter(text.encode(), where)


def card(source: SourceCard) -> str:
    plan = TargetPlan.model_validate_json((RECORDED / "plan.json").read_bytes())
    report = Report.model_validate_json((RECORDED / "report.json").read_bytes())
    return compose(Ingredients(plan, report, source, executed=True)).text


def shape(text: str) -> list[str]:
    """Return what a Markdown reader makes of a card's body, text left out: kinds, links and HTML."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text.split("\n---\n", 1)[1])
    flat = [inner for token in tokens for inner in (token, *(token.children or []))]
    return [
        f"{token.type} {token.attrs.get('href', token.attrs.get('src', ''))}"
        for token in flat
        if token.type not in {"text", "text_special", "inline"}
    ]


@pytest.mark.parametrize("key", ["license", "license_name", "license_link"])
@pytest.mark.parametrize("words", HOSTILE)
def test_whatever_a_license_says_the_card_keeps_its_shape(key: str, words: str) -> None:
    plain = {"license": "other", "license_name": "own", "license_link": "LICENSE"}
    hostile = card(SourceCard({**plain, key: words}))
    assert shape(hostile) == shape(card(SourceCard(plain)))
    found = YAML(typ="safe", pure=True).load(hostile.split("---\n")[1])
    assert found[key] == words


@pytest.mark.parametrize("words", HOSTILE)
def test_text_of_a_prompt_stays_text(words: str) -> None:
    (paragraph, inline, end) = MarkdownIt("commonmark").parse(f"word {as_text(words)} word")
    assert (paragraph.type, end.type) == ("paragraph_open", "paragraph_close")
    assert inline.children is not None
    assert {child.type for child in inline.children} <= {"text", "text_special"}
    assert "".join(child.content for child in inline.children) == f"word {' '.join(words.split())} word"


@pytest.mark.parametrize(
    "block",
    [
        "license: !!python/object/apply:os.system ['touch {path}']",
        "license: !!python/name:os.system",
        "license: !!python/module:os",
        "? !!python/object/new:os.system ['touch {path}']\n: x",
    ],
)
def test_tags_of_a_sources_metadata_make_nothing(tmp_path: Path, block: str) -> None:
    path = tmp_path / "made"
    with pytest.raises(SourceError):
        front_matter(f"---\n{block.replace('{path}', str(path))}\n---\n", "source")
    assert not path.exists()


def test_metadata_that_would_unfold_for_ever_ends_soon() -> None:
    names = "abcdefghij"
    lines = [f"{names[0]}: &{names[0]} [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{name}: &{name} [{', '.join(['*' + names[at]] * 9)}]" for at, name in enumerate(names[1:])]
    began = time.monotonic()
    with pytest.raises(SourceError):
        card(SourceCard(front_matter("---\n" + "\n".join([*lines, "license: *j"]) + "\n---\n", "source")))
    assert time.monotonic() - began < 10


def test_huge_metadata_is_refused_soon() -> None:
    text = "---\nlicense: mit\nx:\n" + "".join(f"- {number}: [a, b, {{c: d}}]\n" for number in range(200_000)) + "---\n"
    began = time.monotonic()
    with pytest.raises(SourceError):
        front_matter(text, "source")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("value", ["{a: b}", "[[a]]", "2026-01-01", "&a [*a]"])
def test_a_license_that_is_no_text_is_refused(value: str) -> None:
    with pytest.raises(SourceError):
        front_matter(f"---\nlicense: {value}\n---\n", "source")


def test_a_license_that_was_left_empty_is_none() -> None:
    assert "The source's card states no license" in card(SourceCard(front_matter("---\nlicense:\n---\n", "source")))


def test_a_license_and_languages_in_lists_are_repeated() -> None:
    found = front_matter("---\nlicense:\n- mit\n- apache-2.0\nlanguage: [en, de]\n---\n", "source")
    assert "- apache-2.0" in card(SourceCard(found))


@pytest.mark.parametrize(
    "name", ["base_model", "library_name", "tags", "widget", "model-index", "extra_gated_prompt", "new_version"]
)
def test_only_what_a_derived_card_must_repeat_is_repeated(name: str) -> None:
    written = card(SourceCard({"license": "mit", name: "evil"}))
    assert "evil" not in written
