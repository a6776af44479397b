"""The catalog in a real browser: it finds, sorts and leads on, on a phone, in the dark, and without a script."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from pipeline.fleet.site import write_site
from tests.page.catalog import catalog
from tests.page.conftest import RULES

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a catalog, below others and of a name that addresses escape."""
    folder = tmp_path_factory.mktemp("pages") / "below" / "a site"
    write_site(catalog(), "https://hub.example", folder)
    return folder


@pytest.fixture
def visit(browser: Browser, site: Path) -> Iterator[Open]:
    """Opens the catalog; nothing may complain, and nothing may be asked for but its pages."""
    wrong: list[str] = []
    opened = []

    def visit(*, width: int = 1280, **options: Any) -> Page:
        opened.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        page = opened[-1].new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: None if request.url in pages else wrong.append(request.url))
        page.goto((site / "index.html").as_uri())
        return page

    pages = {page.as_uri() for page in site.rglob("*.html")}
    yield visit
    for context in opened:
        context.close()
    assert [one for one in wrong if not one.startswith("data:")] == []


def targets(page: Page, recipe: str = "#digits") -> list[str]:
    """Return the targets of a recipe that are in sight, in their order."""
    rows = page.locator(f"{recipe} tbody tr:visible th")
    return [text.split("\n")[0] for text in rows.all_inner_texts()]


def test_one_finds_sorts_and_follows(visit: Open) -> None:
    page = visit()
    assert page.get_by_role("search").get_by_role("status").inner_text() == "11 of 11 targets"
    page.get_by_label("Search").fill("DIGITS torchao")
    page.keyboard.press("Enter")  # sends nothing
    assert targets(page) == ["torchao-int8", "torchao-float8"]
    assert page.locator("#minilm").is_hidden()
    assert page.get_by_role("link", name="minilm").count() == 0
    assert page.get_by_role("search").get_by_role("status").inner_text() == "2 of 11 targets"
    page.get_by_label("Search").fill("")
    page.get_by_label("Task").select_option("feature-extraction")
    assert (targets(page), targets(page, "#minilm")) == ([], ["torchao-int8", "bnb-int8", "onnx-q8"])
    page.get_by_label("Task").select_option("")
    page.get_by_label("Backend").select_option("bitsandbytes")
    assert (targets(page), targets(page, "#minilm")) == (["bnb-nf4", "bnb-int8"], ["bnb-int8"])
    page.get_by_label("Backend").select_option("")
    page.get_by_label("Runs on a card of").select_option("8")
    assert targets(page) == ["bnb-nf4"]
    page.get_by_label("Runs on a card of").select_option("")
    for column, best in (("Size", "bnb-nf4"), ("psnr", "bnb-nf4"), ("Seconds per call", "bnb-nf4")):
        header = page.locator("#digits th", has_text=column).get_by_role("button")
        header.click()
        assert targets(page)[:2] == [best, "torchao-int8"]
        header.click()
        assert targets(page)[:2] == ["torchao-int8", best]
    page.get_by_role("link", name="bnb-nf4", exact=True).click()
    assert page.title() == "PASS: bnb-nf4 · digits/digits-flux-bnb-nf4"
    page.get_by_role("link", name="All recipes").click()
    assert page.title() == "Quantized checkpoints: 2 recipes, 11 targets"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_who_does_not_see_it_can_use_it(visit: Open, scheme: str) -> None:
    page = visit(width=360, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (red + green + blue > 600) == (scheme == "light")
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()


def test_it_can_be_read_without_a_script(visit: Open) -> None:
    page = visit(java_script_enabled=False)
    assert len(targets(page)) == 8
    assert page.locator("#filters").is_hidden()
    page.get_by_role("link", name="bnb-nf4", exact=True).click()
    assert page.title() == "PASS: bnb-nf4 · digits/digits-flux-bnb-nf4"
