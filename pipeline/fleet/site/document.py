"""The catalog written down: one page with everything, pages on each verdict, and links that hold wherever it lies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

from pipeline.files import write_atomically
from pipeline.fleet.site.catalog import CARDS, HOW, Listed, Target
from pipeline.fleet.site.trial import settings_of, trial_page
from pipeline.hub.client import Hub
from pipeline.plan.model import TargetPlan
from pipeline.validate import Report
from pipeline.validate.page import Subject, render
from pipeline.validate.page.document import asset, document
from pipeline.validate.page.used import used

INDEX = "index.html"


def write_site(catalog: Sequence[Listed], address: str, folder: Path) -> None:
    """Write a catalog into a folder; the same catalog is the same bytes.

    Args:
        catalog: The recipes.
        address: The Hub's, to which repositories are linked; empty where it has none that lasts.
        folder: The folder; what else lies in it stays.
    """
    for listed in catalog:
        for target in listed.targets:
            found = target.published
            if found and found.report:
                write_atomically(folder / target.page, page(listed, target, found.plan, found.report).encode())
                if trial := trials(target, address):
                    write_atomically(folder / trial, trial_page(found, address, f"../../{INDEX}").encode())
    write_atomically(folder / INDEX, index(catalog, address).encode())


def trials(target: Target, address: str) -> str:
    """Return the place in the site of the page by which a target is tried; empty where none can."""
    found = target.published
    return f"try/{target.repository}.html" if address and found and settings_of(found) else ""


def address_of(hub: Hub) -> str:
    """Return the address of a Hub that a page may tell; empty for the embedded one, which has another each time."""
    parts = urlsplit(hub.endpoint)
    named = parts._replace(netloc=parts.netloc.rpartition("@")[2])  # without a user and a password
    return named.geturl() if hub.name == hub.endpoint else ""


def page(listed: Listed, target: Target, plan: TargetPlan, report: Report) -> str:
    """Return the page on a published verdict, without pictures: most were never published."""
    return render(
        Subject(
            target=target.name,
            repository=target.repository,
            report=report,
            reference=None,
            candidate=None,
            others={other.name: other.report for other in listed.targets if other is not target},
            used=used(plan, str(listed.loaded.recipe.validation.prompts)),
            above=f"../{INDEX}",
        )
    )


def index(catalog: Sequence[Listed], address: str) -> str:
    """Return the page with every recipe as HTML that loads nothing and sends nothing; for ``address`` see above."""
    style = asset("page.css") + asset("catalog.css", __package__)
    script = asset("page.js") + asset("catalog.js", __package__)
    targets = [target for listed in catalog for target in listed.targets]
    return document(
        "catalog.html.jinja",
        style,
        script,
        __package__,
        catalog=catalog,
        address=address,
        targets=targets,
        tasks=sorted({listed.loaded.recipe.task for listed in catalog}),
        backends=sorted({backend for target in targets for backend in target.backends}),
        cards=CARDS,
        how=HOW,
        quote=quote,
        trials=partial(trials, address=address),
    )
