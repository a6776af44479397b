"""What a catalog lists: recipes, and what the Hub has of their targets, read as whoever downloads them reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from pipeline.backends.available import Card
from pipeline.card.compose import judged_in
from pipeline.errors import PublishError
from pipeline.fleet.memory import Mode, Room, modes, on_processor
from pipeline.fleet.needs import LARGEST, Needs, read_needs
from pipeline.fleet.status import AT_ONCE, changes, tag_of
from pipeline.hub.client import Hub
from pipeline.hub.release_files import REPORT
from pipeline.hub.withdrawn import read_withdrawals
from pipeline.plan.model import TargetPlan, read_plan
from pipeline.recipe import HubSource, Loaded, Quantization
from pipeline.tasks import TASKS
from pipeline.validate import Report
from pipeline.validate.page.charts import Chart, chart
from pipeline.validate.page.facts import COSTS
from pipeline.validate.page.numbers import measures
from pipeline.validate.report import Finding, Interval

CARDS: Final = (8, 12, 16, 24, 32, 48, 80)  # gigabytes of the cards that people have
HOW: Final = {"none": "with all of it on the card", "model": "with one component at a time on it"}
UNNAMED: Final = frozenset({"recipe"})  # stems of files that are called after their folder


@dataclass(frozen=True)
class Published:
    """What the Hub has of a target.

    Attributes:
        plan: What it was made by.
        needs: What it takes of whoever loads it.
        report: How it was judged; None where no report says so that this version reads.
        tag: Under which the Hub shows it.
        changed: Whether the recipe asks for something else by now.
    """

    plan: TargetPlan
    needs: Needs
    report: Report | None
    tag: str | None
    changed: bool


@dataclass(frozen=True)
class Target:
    """One target of a recipe.

    Attributes:
        name: Its name in the recipe.
        repository: Where it is published, or would be.
        made: By component, with which backend and scheme it is quantized.
        published: What the Hub has of it; None where it has nothing that was published.
        error: Why that could not be read.
    """

    name: str
    repository: str
    made: Mapping[str, str]
    published: Published | None = None
    error: PublishError | None = None

    @property
    def page(self) -> str:
        """The place of the page on its verdict in the site; empty where it has none."""
        return f"{self.repository}.html" if self.report else ""

    @property
    def state(self) -> str:
        """Where it stands, in two or three words."""
        if self.error:
            return "could not be read"
        if self.published is None:
            return "not published yet"
        return "withdrawn" if self.published.needs.withdrawn else "published"

    @property
    def report(self) -> Report | None:
        """How it was judged."""
        return self.published.report if self.published else None

    @property
    def backends(self) -> list[str]:
        """The backends that it takes."""
        return sorted({made.partition(" ")[0] for made in self.made.values()})

    @property
    def costs(self) -> dict[str, tuple[float | None, str]]:
        """What it costs, by what is paid: as a number to sort by, and as text."""
        read = {cost: cost.read(self.report) if self.report else None for cost in COSTS}
        return {cost.name: (paid, "" if paid is None else cost.show(paid)) for cost, paid in read.items()}

    @cached_property
    def ways(self) -> list[tuple[Mode, int | None]]:
        """The ways to run it on a CUDA device, the fastest first, each with the gigabytes of the least card for it."""
        found = modes(self.published.needs, Room(Card("cuda"), None)) if self.published else []
        able = [mode for mode in found if mode.name in HOW and not mode.lacks]
        less = [mode for place, mode in enumerate(able) if not place or mode.device_bytes < able[0].device_bytes]
        return [(mode, next((size for size in CARDS if mode.device_bytes <= size * 10**9), None)) for mode in less]

    @property
    def processor(self) -> Mode | None:
        """What it takes of a processor, where it runs on nothing else."""
        needs = self.published.needs if self.published else None
        return on_processor(needs) if needs and needs.devices == {"cpu"} else None

    @property
    def card(self) -> int | None:
        """Gigabytes of the least card that it runs on in one of these ways."""
        return min((size for _, size in self.ways if size), default=None)

    def finding(self, metric: str) -> Finding | None:
        """Return what was measured by a metric."""
        return self.report.metrics.get(metric) if self.report else None

    def quality(self, metric: str) -> Interval | None:
        """Return the number by which a metric tells its quality."""
        finding = self.finding(metric)
        return measures(finding) if finding else None


@dataclass(frozen=True)
class Listed:
    """A recipe with its targets.

    Attributes:
        name: What it is called in the catalog, and by which it is linked to.
        loaded: The recipe.
        targets: Its targets.
    """

    name: str
    loaded: Loaded
    targets: Sequence[Target]

    @property
    def source(self) -> str:
        """The source with its commit, or its folder."""
        source = self.loaded.recipe.source
        pinned = source.revision if isinstance(source, HubSource) else None
        return f"{source.origin}@{pinned[:12]}" if pinned else source.origin

    @property
    def license(self) -> str:
        """The license that the source's card gave when a target was made of it; empty where none was."""
        cards = [target.published.plan.source_card or {} for target in self.targets if target.published]
        return next((str(card["license"]) for card in cards if card.get("license")), "")

    @property
    def required(self) -> bool:
        """Whether the metric that tells quality is one that the recipe requires."""
        return getattr(self.loaded.recipe.validation.require, self.metric, None) is not None

    @property
    def metric(self) -> str:
        """The metric that tells quality: the first of answers that the recipe requires, else the one that ranks."""
        recipe = self.loaded.recipe
        medium = TASKS[recipe.task].medium
        asked = [name for name, one in recipe.validation.require if one is not None]
        return next((name for name in asked if name in medium.metrics), medium.ranking)

    @property
    def title(self) -> str:
        """What it is called where it is told, as the page on a verdict calls it."""
        finding = self.measured and self.measured.finding(self.metric)
        return f"{self.metric}, {finding.change}" if finding and finding.drop else self.metric

    @property
    def measured(self) -> Target | None:
        """The first target of which that metric is known, whose limit holds for all."""
        return next((target for target in self.targets if target.quality(self.metric)), None)

    @property
    def words(self) -> str:
        """What quality is in this recipe, as a sentence."""
        metric = TASKS[self.loaded.recipe.task].medium.metrics[self.metric]
        finding = self.measured and self.measured.finding(self.metric)
        limits = " and ".join(limit.words for limit in finding.judgements) if finding else ""
        drops = bool(finding and finding.drop)
        way = "drops below" if metric.direction == "higher" else "rises above"
        unit = f" in {metric.unit}" if metric.unit else ""
        what = f"how far {self.metric} {way} the source's own" if drops else self.metric
        better = "lower" if drops else metric.direction
        why = "the first that this recipe requires" if self.required else "which this recipe does not require"
        return f"Quality is {what}{unit}, {why}; {better} is better{f', and {limits} is required' if limits else ''}."

    def instead(self, target: Target) -> str:
        """Return why a step of a ladder is not published, as the plan of another step says; empty where none does."""
        ladders = [other.published.plan.ladder for other in self.targets if other.published]
        steps = [step for ladder in ladders if ladder for step in ladder.steps if step.target == target.name]
        return next((step.instead for step in steps if not target.published), "")

    @property
    def charts(self) -> list[Chart]:
        """Quality against size and against seconds, where two targets can be compared."""
        judged = {target.name: target.report for target in self.targets if target.report}
        if self.measured is None or sum(bool(target.quality(self.metric)) for target in self.targets) < 2:
            return []
        drawn = [chart(self.measured.name, judged, self.metric, self.title, cost) for cost in COSTS[:2]]
        # None of them is the one that a page is about, and the source's own noise is told there.
        alike = [tuple((replace(point, this=False), height) for point, height in one.points) for one in drawn]
        return [replace(one, points=points, floor=None) for one, points in zip(drawn, alike, strict=True) if points]


def read_catalog(hub: Hub, recipes: Sequence[Loaded]) -> list[Listed]:
    """Read what the Hub has of recipes, several repositories at once; one that cannot be read hides no other.

    Raises:
        HubUnavailableError: The Hub answers nothing at all.
    """
    hub.reach()
    pairs = [(loaded, target) for loaded in recipes for target in loaded.recipe.targets]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = iter(list(pool.map(lambda pair: read_target(hub, *pair), pairs)))
    return [
        Listed(name, loaded, [next(found) for _ in loaded.recipe.targets])
        for name, loaded in zip(names_of([loaded.path for loaded in recipes]), recipes, strict=True)
    ]


def names_of(recipes: Sequence[Path]) -> list[str]:
    """Return what recipes are called: by their file, or its folder, and by a number where two would be called alike."""
    found: list[str] = []
    for path in (path.resolve() for path in recipes):
        name = "-".join((path.parent.name if path.stem in UNNAMED else path.stem).split())
        name = "".join(char if char.isprintable() else "-" for char in name)  # also bytes that are not UTF-8
        several = (f"{name}-{number}" for number in count(2))
        found.append(name if name not in found else next(other for other in several if other not in found))
    return found


def read_target(hub: Hub, loaded: Loaded, target: str) -> Target:
    """Read what the Hub has of one target."""
    recipe = loaded.recipe
    repo, asked = recipe.repositories[target], recipe.named(target)
    found = Target(target, repo, words_of(asked))
    try:
        published = read_published(hub, loaded, target, repo)
    except PublishError as error:
        return replace(found, error=error)
    if published is None:
        return found
    made = {name: part.quantization for name, part in published.plan.components.items()}
    return replace(found, made=words_of(made), published=published)


def words_of(made: Mapping[str, Quantization]) -> dict[str, str]:
    """Return with which backend and scheme each component is quantized, in two words."""
    return {name: one.words for name, one in made.items()}


def read_published(hub: Hub, loaded: Loaded, target: str, repo: str) -> Published | None:
    """Read the newest release in a repository; None where there is none."""
    remote = hub.state(repo)
    plan = read_plan(remote.plan)
    if plan is None or remote.release is None or remote.head is None:
        return None
    return Published(
        plan=plan,
        needs=read_needs(hub, repo, remote.release),
        report=report_in(hub.content(repo, remote.release, REPORT, LARGEST)),
        tag=tag_of(remote, read_withdrawals(hub, repo, remote.head)),
        changed=bool(changes(loaded, target, plan)),
    )


def report_in(text: bytes | None) -> Report | None:
    """Return how a published checkpoint was judged; None where no report says so that a page can be made of."""
    try:
        found = judged_in(json.loads(text)) if text else None
    except (ValidationError, ValueError, AttributeError):
        return None
    whole = found and found.task in TASKS and found.reference.seconds_per_call and found.candidate.seconds_per_call
    return found if whole else None
