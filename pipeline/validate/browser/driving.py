"""The browser of this machine, headless: it sees what is served here, and no network."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import CannotHereError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
_PEAK: Final = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


def browser_of_this_machine() -> str:
    """Return the path of a browser that can be driven.

    Raises:
        CannotHereError: There is none, or nothing that drives it.
    """
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        remedy = "Install one (apt-get install chromium), or leave `browser` out of the recipe's `validation`."
        raise CannotHereError(f"A page is to be tried, and there is no browser here: {', '.join(BROWSERS)}.",
                              remedy=remedy)  # fmt: skip
    if find_spec("playwright") is None:
        raise CannotHereError("A page is to be tried, and playwright, which drives the browser, is not installed.",
                              remedy="Install it: pip install 'quantpress[browser]'.")  # fmt: skip
    return path


@contextmanager
def visited(address: str, leads: Mapping[str, str]) -> Iterator[tuple[Browser, Page]]:
    """Open a browser, and return it with a page that is still to go to an address.

    Args:
        address: The page's address.
        leads: Where addresses that begin with some text lead instead; what is neither there nor served with the page
            does not load.
    """
    from playwright.sync_api import sync_playwright

    allowed = (address, *leads.values())

    def answer(route: Route) -> None:
        asked = route.request.url
        for text, place in leads.items():
            if asked.startswith(text):
                headers = {"Location": place + asked.removeprefix(text), "Access-Control-Allow-Origin": "*"}
                route.fulfill(status=307, headers=headers)
                return
        if asked.startswith((*allowed, "blob:")):
            route.continue_()
        else:
            route.abort("internetdisconnected")

    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=browser_of_this_machine())
        try:
            page = running.new_page()
            page.set_default_timeout(0)  # who waits for this process knows how long
            page.route("**/*", answer)
            yield running, page
        finally:
            running.close()


def peak_memory(browser: Browser) -> int:
    """Return the most bytes that were resident in a process of the browser's that renders pages: the largest of them.

    Chromium counts for no page that is not isolated from others what its WebAssembly takes, and Linux does.
    """
    processes: list[dict[str, Any]] = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    status = [Path(f"/proc/{process['id']}/status") for process in processes if process["type"] == "renderer"]
    found = [_PEAK.search(path.read_text()) for path in status if path.is_file()]
    return max((1024 * int(line[1]) for line in found if line), default=0)
