"""The page as a whole: what it is about, and one document with its pictures, its style and its script inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.files import counted, human_size
from pipeline.tasks import TASKS
from pipeline.validate.page.answers import gallery
from pipeline.validate.page.facts import answered, versions
from pipeline.validate.page.layers import plot
from pipeline.validate.page.numbers import number, rows
from pipeline.validate.page.targets import charts, standings
from pipeline.validate.report import Report


@dataclass(frozen=True)
class Subject:
    """What a page is about.

    Attributes:
        target: The target's name in its recipe.
        repository: Where it is published, or would be.
        report: What was measured and what follows.
        reference: The folder with the source's answers; None where the page is to do without pictures.
        candidate: The folder with the target's answers.
        others: The reports of the recipe's other targets; none where one was not judged.
        clips: The files of clips that were asked, by the prompts' numbers.
        used: What the run used, as facts by their names under headings.
        above: Where the page is found from, as a relative address; empty where it stands by itself.
    """

    target: str
    repository: str
    report: Report
    reference: Path | None
    candidate: Path | None
    others: Mapping[str, Report | None]
    used: Mapping[str, Mapping[str, str]]
    above: str = ""
    clips: Mapping[int, Path] = field(default_factory=dict)


def render(subject: Subject) -> str:
    """Return the page of a report as HTML that loads nothing, forbids that anything is loaded, and sends nothing.

    Args:
        subject: What it is about.
    """
    report = subject.report
    judged = {subject.target: report, **{name: other for name, other in subject.others.items() if other}}
    shown = gallery(report, subject.reference, subject.candidate, subject.clips)
    return document(
        "page.html.jinja",
        asset("page.css"),
        asset("page.js"),
        subject=subject,
        report=report,
        rows=rows(report),
        gallery=shown,
        task=TASKS[report.task],
        labelled="label_accuracy" in TASKS[report.task].metrics,
        plot=plot(report.layers),
        charts=charts(subject.target, judged),
        standings=standings(subject.target, judged),
        unjudged=[name for name, other in subject.others.items() if other is None],
        answered=answered(report),
        versions=versions(report),
        orders={"orders": shown.orders},
    )


def document(
    template: str,
    style: str,
    script: str,
    package: str = __package__,
    lets: Mapping[str, str] = MappingProxyType({}),
    **values: Any,
) -> str:
    """Return a template of a package as one document, with its style and its script inside.

    Args:
        template: Its file's name.
        style: The style.
        script: The script.
        package: The package.
        lets: What is let in besides them, by directives of the policy.
        values: What the template may use.
    """
    within = {"style": Markup(style), "script": Markup(script)}  # noqa: S704 - files of these packages
    return environment(package).get_template(template).render(policy=policy(style, script, lets), **within, **values)


def policy(style: str, script: str, lets: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the Content-Security-Policy under which this style and script act, and inline pictures and clips."""
    style, script = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    directives = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{style}'",
        "script-src": f"'sha256-{script}'",
        "media-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    found = {name: f"{directives.get(name, '')} {lets.get(name, '')}".strip() for name in {**directives, **lets}}
    return "; ".join(f"{name} {sources}" for name, sources in found.items())


def asset(name: str, package: str = __package__) -> str:
    """Return a file that lies beside the templates of a package."""
    return (files(package) / "templates" / name).read_text()


@cache
def environment(package: str) -> Environment:
    """Return where a package's templates are found, and those of this one besides."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(name, "templates") for name in dict.fromkeys((package, __package__))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"count": counted, "number": number, "human_size": human_size}
    return made
