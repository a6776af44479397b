"""The catalog works wherever it lies, says of each target what is known, and nothing that it repeats can act."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from pipeline.errors import HubUnavailableError
from pipeline.fleet.site import Listed, Target, address_of, index, write_site
from pipeline.fleet.site.catalog import names_of, report_in
from pipeline.hub.client import Hub
from pipeline.hub.withdrawn import Withdrawal
from tests.cards.conftest import RECORDED
from tests.cards.test_ladder import REPOSITORIES, with_ladder
from tests.page.catalog import GB, catalog, changed, holding, listed, published
from tests.page.conftest import NASTY
from tests.page.test_document import elements, parsed, rows, text_of

HUB = "https://hub.example"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a catalog."""
    folder = tmp_path_factory.mktemp("site")
    write_site(catalog(), HUB, folder)
    return folder


def links(text: str) -> Iterator[str]:
    yield from (link.get("href") for link in elements(parsed(text), "a"))


def told(listing: Listed, number: int = 0) -> list[str]:
    """Return the cells of a target's row."""
    return rows(parsed(index([listing], HUB)), f"Targets of {listing.name}")[number]


def test_every_page_is_valid_and_every_link_leads_somewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) == 3
    for page in pages:
        tree = parsed(page.read_text())
        names = [element.get("id") for element in tree.iter() if element.get("id")]
        assert [name for name, count in Counter(names).items() if count > 1] == []
        for link in links(page.read_text()):
            if link.startswith("#"):
                assert unquote(link[1:]) in names
            elif not link.startswith(f"{HUB}/"):
                assert (page.parent / unquote(link)).is_file(), link
                assert not link.startswith("/")


def test_it_needs_nothing_else(site: Path) -> None:
    for page in site.rglob("*.html"):
        tree = parsed(page.read_text())
        (policy,) = (meta.get("content") for meta in elements(tree, "meta") if meta.get("http-equiv"))
        assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
        for element in tree.iter():
            assert not [name for name in element.attrib if name.startswith("on") or name in {"style", "src"}]
        assert not re.search(r"@import|url\(", page.read_text())


def test_the_same_catalog_is_the_same_bytes(site: Path, tmp_path: Path) -> None:
    before = {page.relative_to(site): page.read_bytes() for page in site.rglob("*") if page.is_file()}
    (tmp_path / "CNAME").write_text("somebody's own")
    for _ in range(2):
        write_site(catalog(), HUB, tmp_path)
        after = {page.relative_to(tmp_path): page.read_bytes() for page in tmp_path.rglob("*") if page.is_file()}
        assert after == {**before, Path("CNAME"): b"somebody's own"}


def test_a_published_target_tells_what_its_report_says(site: Path) -> None:
    tree = parsed((site / "index.html").read_text())
    found = {row[0].split()[0]: row for row in rows(tree, "Targets of digits")}
    assert found["bnb-nf4"] == [
        "bnb-nf4 digits/digits-flux-bnb-nf4",
        "bitsandbytes nf4 transformer, text_encoder_2",
        "PASS v1",
        "6.6 GB, reckoned a card of 8 GB",
        "5.4 MB",
        "40.36 dB 39.59 to 41.02",
        "5.191 s cpu",
    ]
    assert found["quanto-int4"][1:4] == ["quanto int4 transformer", "not published yet", "\N{EN DASH}"]
    (about,) = (text_of(one) for one in elements(tree, "p") if "digits-flux@" in text_of(one))
    assert about.endswith(
        "Quality is psnr in dB, the first that this recipe requires; higher is better, and at least 30 dB is required."
    )


def test_a_page_on_a_verdict_leads_back_and_does_without_pictures(site: Path) -> None:
    text = (site / "digits" / "digits-flux-bnb-nf4.html").read_text()
    tree = parsed(text)
    assert "../index.html" in set(links(text))
    assert list(elements(tree, "img")) == []
    assert [one for one in elements(tree, "input") if one.get("type") == "checkbox"] == []
    assert len([one for one in elements(tree, "li") if one.get("data-index")]) == 48
    others = "bnb-int8, torchao-float8, quanto-int8, gguf-q8_0, comfy-int8-convrot, quanto-int4"
    assert f"Not judged here, so not shown: {others}." in text


def test_qualities_are_compared_within_a_recipe_only(site: Path) -> None:
    tree = parsed((site / "index.html").read_text())
    digits, other = (one for one in elements(tree, "section") if one.get("class") == "recipe")
    assert [text_of(one) for one in elements(digits, "figcaption")] == [
        "psnr against size",
        "psnr against seconds per call",
    ]
    assert list(elements(other, "figure")) == []  # nothing of it is published
    assert "cosine_similarity, the first that this recipe requires; higher is better." in text_of(other)
    names = [text_of(one) for one in digits.iter() if "name" in one.get("class", "").split()]
    assert names == ["torchao-int8", "bnb-nf4"] * 2
    assert [one for one in digits.iter() if {"this", "floor"} & set(one.get("class", "").split())] == []


def test_one_target_is_no_comparison() -> None:
    assert listed("digits", **{"bnb-nf4": published("bnb-nf4", GB)}).charts == []


def test_memory_of_a_card_says_whether_it_was_measured() -> None:
    of = published("torchao-int8", 20 * GB)
    facts = of.needs.judged
    assert facts
    measured = facts.model_copy(update={"device": "cuda", "peak_device_bytes": 11 * GB})
    needs = replace(of.needs, judged=measured)
    assert told(listed("digits", **{"torchao-int8": replace(of, needs=needs)}), 2)[3] == (
        "11.6 GB, measured a card of 12 GB"
    )
    two = holding(of.needs, transformer=20 * GB, text_encoder=20 * GB)
    both = listed("digits", **{"torchao-int8": replace(of, needs=two)})
    assert told(both, 2)[3] == (
        "40.6 GB, reckoned a card of 48 GB 20.6 GB, reckoned, with one component at a time on it: a card of 24 GB"
    )
    assert both.targets[2].card == 24
    large = published("torchao-int8", 90 * GB)
    assert told(listed("digits", **{"torchao-int8": large}), 2)[3] == "90.6 GB, reckoned more than 80 GB"


def test_a_drop_is_told_as_one_and_what_is_not_required_too() -> None:
    of = published("bnb-nf4", GB)
    assert of.report
    found = listed("digits", **{"bnb-nf4": of})
    recipe = found.loaded.recipe
    for required, words in (
        ("clip_similarity", "Quality is clip_similarity, the first that this recipe requires; higher is better"),
        ("clip_score", "Quality is how far clip_score drops below the source's own in points, the first"),
        ("size_ratio", "Quality is psnr in dB, which this recipe does not require; higher is better"),
    ):
        others = dict.fromkeys(name for name, _ in recipe.validation.require if name != required)
        validation = recipe.validation.model_copy(
            update={"require": recipe.validation.require.model_copy(update=others)}
        )
        loaded = replace(found.loaded, recipe=recipe.model_copy(update={"validation": validation}))
        assert replace(found, loaded=loaded).words.startswith(words)


def test_states_are_told() -> None:
    of = published("bnb-nf4", GB)
    gone = Withdrawal(commit="0" * 40, plan="", why="It draws sevens as ones")
    withdrawn = replace(of, needs=replace(of.needs, withdrawn=gone), changed=True)
    assert told(listed("digits", **{"bnb-nf4": withdrawn}))[2] == (
        "withdrawn v1 It draws sevens as ones. the recipe has changed since"
    )
    silent = listed("digits", **{"bnb-nf4": replace(of, report=None, tag=None)})
    assert told(silent)[2] == "published 000000000000"
    assert silent.targets[0].page == ""
    broken = replace(silent, targets=[replace(silent.targets[0], published=None, error=HubUnavailableError("down"))])
    assert told(broken)[2] == "could not be read"


def test_a_step_of_a_ladder_that_needs_no_repository_names_the_one_that_is_for_its_card() -> None:
    of = published("bnb-nf4", GB)
    plan = with_ladder(of.plan, "12gb")
    found = replace(of, plan=plan, needs=replace(of.needs, plan=plan, judged=None))
    named = {**REPOSITORIES, "24gb": "acme/digits-24gb"}
    steps = [Target(name, repository, {}, found if name == "12gb" else None) for name, repository in named.items()]
    ladder = replace(listed("digits"), targets=steps)
    assert [told(ladder, number)[2] for number in range(4)] == [
        "not published yet",
        "PASS v1",
        f"the same as 12gb, so {REPOSITORIES['12gb']} is for a card of 16GB, too",
        "the source itself runs on a card of 24GB, so acme/digits is for it",
    ]


def test_a_report_of_which_no_page_can_be_made_is_none() -> None:
    written = json.loads((RECORDED / "bnb-nf4" / "report.json").read_bytes())
    unasked = written["candidate"] | {"seconds_per_call": []}
    assert report_in(json.dumps(written | {"source_page": "", "usage": "", "weights": {}}).encode())
    for changes in (
        {"task": "fortune-telling"},
        {"candidate": unasked},
        {"reference": unasked},
        {"verdict": "PERHAPS"},
    ):
        assert report_in(json.dumps(written | changes).encode()) is None
    for text in (None, b"[]", b"{", b"\xff"):
        assert report_in(text) is None


def test_what_repositories_and_reports_say_is_text(tmp_path: Path) -> None:
    of = published("bnb-nf4", GB)
    assert of.report
    metrics = {NASTY: of.report.metrics["psnr"], **of.report.metrics}
    facts = of.report.candidate.model_copy(update={"device": NASTY})
    bad = changed(of.report, metrics=metrics, candidate=facts)
    plan = of.plan.model_copy(update={"source_card": {"license": NASTY}})
    gone = Withdrawal(commit="0" * 40, plan="", why=NASTY)
    hostile = replace(of, report=bad, plan=plan, tag=NASTY, needs=replace(of.needs, withdrawn=gone))
    target = Target(NASTY, "acme/%22onload=x", {NASTY: f"torchao {NASTY}"}, hostile)
    mean = replace(listed("digits", name='"><script>'), targets=[target])
    text = index([mean], HUB)
    tree = parsed(text)
    assert len(list(elements(tree, "script"))) == 1
    assert "<!--" not in text
    assert {one.tag for one in tree.iter()} <= {one.tag for one in parsed(index(catalog(), HUB)).iter()}
    assert set(links(text)) == {
        "#recipes",
        "#%22%3E%3Cscript%3E",
        "acme/%2522onload%3Dx.html",
        f"{HUB}/acme/%2522onload%3Dx",
    }
    assert told(mean)[1] == f"torchao {' '.join(NASTY.split())} {' '.join(NASTY.split())}"
    write_site([mean], HUB, tmp_path)
    page = (tmp_path / "acme" / "%22onload=x.html").read_text()
    assert len(list(elements(parsed(page), "script"))) == 2


def test_recipes_are_called_by_their_file_or_folder_and_never_alike() -> None:
    paths = ["a/recipe.yaml", "b/a.yaml", "c/a-2.yaml", "d/my model.yml", "e/flux.1-dev.yaml"]
    assert names_of([Path(path) for path in paths]) == ["a", "a-2", "a-2-2", "my-model", "flux.1-dev"]
    assert names_of([Path("\udcff.yaml")]) == ["-"]  # bytes that are not UTF-8


def test_a_hub_is_linked_by_an_address_that_lasts_and_tells_no_password() -> None:
    assert address_of(Hub("https://me:secret@hub.example:8443/models/")) == "https://hub.example:8443/models"
    assert address_of(Hub("http://127.0.0.1:4321", name="/home/me/.publish/hub")) == ""
    found = [link for link in links(index(catalog(), "")) if not link.startswith("#")]
    assert found == ["digits/digits-flux-bnb-nf4.html", "digits/digits-flux-torchao-int8.html"]
