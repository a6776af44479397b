"""A page by which visitors try what was published: their browser loads it from the Hub and answers, with no server.

Nothing is loaded until they press a button that says how much it is and from where. The scripts are held against their
digests, and the page's policy lets it read them and the files of one commit, and run nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import quote, urlsplit

from pipeline.fleet.site.catalog import Published
from pipeline.hub.release_files import QUESTIONS
from pipeline.tasks import TASKS
from pipeline.validate.browser.judging import NAME
from pipeline.validate.browser.scripts import LOADED
from pipeline.validate.page.document import asset, document

STORES: Final = {
    "https://huggingface.co": "https://*.hf.co"
}  # where a Hub keeps large files; of another one nobody knows


def trial_page(found: Published, address: str, above: str) -> str:
    """Return the page by which a published model is tried.

    Args:
        found: What is published; a browser tried it before it was.
        address: The Hub's.
        above: Where the page is found from, as a relative address.
    """
    page = TASKS[found.plan.task].page
    if page is None:
        raise ValueError(f"No page asks a model of {found.plan.task}.")
    plan, needs = found.plan, found.needs
    files = f"{address}/{quote(plan.repository)}/resolve/{needs.commit}/"
    first, options = page.question(plan.validation.prompts[0], plan.validation.call, f"{files}{QUESTIONS}/")
    given = {
        "task": plan.task,
        "repository": plan.repository,
        "hub": f"{address}/",
        "commit": needs.commit,
        "settings": settings_of(found),
        "first": first,
        "options": options,
        "scripts": {name: asdict(script) for name, script in LOADED.items()},
    }
    return document(
        f"{page.trial}.html.jinja",
        asset("page.css") + asset("trial.css", __package__),
        asset("trial.js", __package__) + asset(f"{page.trial}.js", __package__),
        __package__,
        lets_in(files, address),
        plan=plan,
        needs=needs,
        given=given,
        above=above,
        library=NAME,
        chat=bool(plan.validation.prompts[0].messages),
        prompts=[prompt.prompt for prompt in plan.validation.prompts],
        sizes={"model": sum(needs.files.values()), "scripts": sum(script.size for script in LOADED.values())},
        hosts={"model": urlsplit(address).netloc, "scripts": urlsplit(LOADED["library"].address).netloc},
    )


def settings_of(found: Published) -> Mapping[str, Any]:
    """Return with what a browser loaded a published model when it was judged; nothing where none did, or may now."""
    uses = found.report.uses if found.report and not found.needs.withdrawn else ()
    return next((use.settings for use in uses if use.kind == "browser"), {})


def lets_in(files: str, address: str) -> dict[str, str]:
    """Return what the policy lets in: the pinned scripts, the files under an address, and where those are kept."""
    store = STORES.get(address, f"{urlsplit(address).scheme}:")
    read = ["blob:", *(script.address for script in LOADED.values()), files, store]
    return {"script-src": "blob: 'wasm-unsafe-eval'", "connect-src": " ".join(read)}
