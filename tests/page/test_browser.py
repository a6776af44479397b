"""The page in a real browser: by mouse, by keyboard, in the dark, on a phone, on paper, and to who does not see it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from tests.page.conftest import BLUE, RED, RULES

Open = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, pages: dict[str, Path]) -> Iterator[Open]:
    """Opens pages; none may complain, and none may ask for anything but itself."""
    wrong: list[str] = []
    opened = []

    def visit(verdict: str = "FAIL", *, width: int = 1280, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: wrong.append(request.url) if request.url != address else None)
        address = pages[verdict].as_uri()
        page.goto(address)
        # What is inside the file is no request to anywhere.
        wrong[:] = [one for one in wrong if not one.startswith("data:")]
        return page

    yield visit
    for context in opened:
        context.close()
    assert [one for one in wrong if not one.startswith("data:")] == []


def seen(element: Locator, *shares: float) -> list[tuple[int, ...]]:
    """Return the colours at these shares of an element's width, a quarter down from its top."""
    image = Image.open(io.BytesIO(element.screenshot())).convert("RGB")
    return [image.getpixel((int(image.width * share), image.height // 4)) for share in shares]  # type: ignore[misc]


def test_the_slider_moves_what_is_shown_by_keyboard(visit: Open) -> None:
    page = visit()
    compare = page.locator("#pair-0 .compare")
    slider = compare.locator("input")
    assert seen(compare, 0.25, 0.75) == [RED, BLUE]
    slider.focus()
    page.keyboard.press("End")
    assert seen(compare, 0.25, 0.75) == [RED, RED]
    page.keyboard.press("Home")
    assert seen(compare, 0.25, 0.75) == [BLUE, BLUE]
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert slider.input_value() == "3"
    assert slider.get_attribute("aria-valuetext") == "3 % source, 97 % candidate"


def test_a_report_of_the_least_has_a_page_that_works(visit: Open) -> None:
    page = visit("least")
    page.locator("#pair-0 input").focus()
    page.keyboard.press("End")
    assert seen(page.locator("#pair-0 .compare"), 0.75) == [RED]


def test_the_slider_moves_what_is_shown_where_it_is_dragged_to(visit: Open) -> None:
    page = visit()
    compare = page.locator("#pair-0 .compare")
    compare.scroll_into_view_if_needed()
    box = compare.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 10, steps=4)
    page.mouse.up()
    assert seen(compare, 0.8, 0.97) == [RED, BLUE]
    assert abs(int(compare.locator("input").input_value()) - 90) <= 1


def test_the_difference_shows_what_differs(visit: Open) -> None:
    page = visit()
    page.get_by_label("Difference").check()
    ((red, green, blue),) = seen(page.locator("#pair-0 .compare"), 0.5)
    assert (red, blue) == (255, 255)  # 190 eight times as bright is white
    assert green == 240  # and 30 is 240
    assert page.locator("#pair-0 input").is_hidden()


def test_pictures_can_be_looked_at_larger(visit: Open) -> None:
    page = visit()
    small = page.locator("#pair-0 .compare").bounding_box()
    page.get_by_label("Larger").check()
    large = page.locator("#pair-0 .compare").bounding_box()
    assert small
    assert large
    assert large["width"] > 2 * small["width"]


def column(page: Page, table: str, number: int) -> list[str]:
    cells = page.locator(f"{table} tbody tr > :nth-child({number})")
    return [text.split("\n")[0] for text in cells.all_inner_texts()]


def test_a_table_sorts_both_ways_and_says_so(visit: Open) -> None:
    page = visit()
    header = page.locator("#metrics th", has_text="Candidate")
    button = header.get_by_role("button")
    button.focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(page, "#metrics", 1) == ["size_ratio", "latency", "psnr", "clip_score", "peak_memory"]
    assert page.get_by_role("status").inner_text() == "Sorted by Candidate, ascending."
    button.click()
    assert header.get_attribute("aria-sort") == "descending"
    assert column(page, "#metrics", 1) == ["peak_memory", "clip_score", "psnr", "latency", "size_ratio"]
    page.locator("#metrics th", has_text="Metric").get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "none"
    assert column(page, "#metrics", 1) == ["clip_score", "latency", "peak_memory", "psnr", "size_ratio"]


def test_what_has_no_number_is_last_whichever_way_a_table_is_sorted(visit: Open) -> None:
    page = visit()
    button = page.locator("#metrics th", has_text="Noise floor").get_by_role("button")
    for wanted in (["clip_score", "psnr"], ["psnr", "clip_score"]):
        button.click()
        assert column(page, "#metrics", 1)[:2] == wanted


def test_pictures_can_be_ordered_and_as_many_stay_in_sight(visit: Open) -> None:
    page = visit()
    shown = page.locator("#first > li")
    before = shown.count()
    page.get_by_label("Order").select_option("prompt")
    assert [card.get_attribute("data-index") for card in shown.all()] == [str(index) for index in range(before)]
    assert page.get_by_role("status").inner_text() == "Pairs are now as asked."
    page.get_by_label("Order").select_option("psnr")
    assert [card.get_attribute("data-index") for card in shown.all()][:3] == ["6", "15", "14"]
    assert page.locator("#rest > li").count() == 16 - before


def test_a_layer_tells_what_it_is_where_one_points_at_it(visit: Open) -> None:
    page = visit()
    tip = page.locator("#tip")
    assert tip.is_hidden()
    dot = page.locator('.dot[aria-label^="vae decoder.conv_out"]')
    dot.scroll_into_view_if_needed()
    dot.hover()
    assert tip.inner_text() == "vae decoder.conv_out: 41.5 dB; kept"
    at, over = tip.bounding_box(), dot.bounding_box()
    assert at
    assert over
    assert abs(at["y"] + at["height"] - over["y"]) < 30
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.getAttribute('aria-label')"))


def test_layers_are_one_stop_of_the_tab_key_and_the_arrows_go_through_them(visit: Open) -> None:
    page = visit()
    assert page.locator('.lanes [tabindex="0"]').count() == 1
    page.locator("#rest").locator("xpath=..").locator("summary").focus()
    page.keyboard.press("Tab")
    first = focused(page)
    assert first.startswith("transformer blocks.3.attn.to_q: answers no numbers")
    assert page.locator("#tip").inner_text() == first
    page.keyboard.press("ArrowRight")
    assert focused(page).startswith("transformer blocks.9.attn.to_q: 3.25 dB, its weights 21 dB when made; quantized")
    page.keyboard.press("ArrowDown")
    assert "attn.to_q" not in focused(page)
    page.keyboard.press("ArrowUp")
    assert "attn.to_q" in focused(page)
    page.keyboard.press("End")
    assert focused(page).startswith("vae decoder.conv_out")
    assert page.locator('.lanes [tabindex="0"]').count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_targets_tell_quality_and_cost(visit: Open) -> None:
    page = visit()
    page.get_by_label("Quality by").select_option("psnr")
    page.locator(".charts:visible .dot.this").first.hover()
    assert page.locator("#tip").inner_text() == (
        "nf4 (FAIL): psnr 38.5 dB, 95 % between 37.25 and 39.75 dB; size 310.0 kB"
    )
    page.get_by_label("Quality by").select_option("clip_score, drop")
    titles = page.locator(".charts:visible figcaption").all_inner_texts()
    assert titles == [f"clip_score, drop against {cost}" for cost in ("size", "seconds per call", "peak memory")]


@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_width_and_follows_the_scheme(visit: Open, width: int, scheme: str) -> None:
    page = visit(width=width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (red + green + blue > 600) == (scheme == "light")
    outside = page.evaluate(
        """[...document.querySelectorAll('main :is(p, h1, h2, h3, select, figure)')].filter((one) => {
            const box = one.getBoundingClientRect();
            return box.width > 1 && (box.left < -1 || box.right > innerWidth + 1) && !one.closest('.wide');
        }).map((one) => one.outerHTML.slice(0, 90))"""
    )
    assert outside == []


def test_nothing_moves_for_who_wants_no_motion(visit: Open) -> None:
    assert visit().evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "smooth"
    calm = visit(reduced_motion="reduce")
    assert calm.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_on_paper_both_pictures_stand_side_by_side(visit: Open) -> None:
    page = visit()
    page.emulate_media(media="print")
    left, right = (one.bounding_box() for one in page.locator("#pair-0 img").all())
    assert left
    assert right
    assert left["x"] + left["width"] <= right["x"]
    assert page.locator("#pair-0 input").is_hidden()
    assert page.locator("nav").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_who_does_not_see_it_can_use_it(visit: Open, scheme: str) -> None:
    page = visit("FAIL, short", color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()


def test_every_stop_of_the_tab_key_can_be_seen(visit: Open) -> None:
    page = visit()
    unseen = page.evaluate(
        """async () => {
            const stops = [...document.querySelectorAll('a[href], button, select, input, summary, [tabindex="0"]')];
            const look = (one) => {
                const near = one.closest('.compare') ?? one;
                const style = getComputedStyle(near), drawn = getComputedStyle(near.querySelector('path') ?? near);
                const there = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
                const outline = there ? style.outlineWidth + style.outlineColor : '';
                return { outline, rest: [drawn.stroke, drawn.strokeWidth, style.top].join() };
            };
            return stops.filter((one) => one.checkVisibility()).filter((one) => {
                const before = look(one);
                one.focus({ focusVisible: true });
                const after = look(one);
                one.blur();
                return before.rest === after.rest && (!after.outline || before.outline === after.outline);
            }).map((one) => one.outerHTML.slice(0, 90));
        }"""
    )
    assert unseen == []
