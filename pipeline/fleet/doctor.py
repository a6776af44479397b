"""Doctor: whether everything that publishing these recipes takes is there, before hours are spent on finding out."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.backends import BACKENDS, Backend
from pipeline.errors import PublishError
from pipeline.files import human_size
from pipeline.fleet.machine import Remark, disk, graphics, libraries, memory, processor
from pipeline.hub.client import Hub
from pipeline.hub.ownership import look_at
from pipeline.plan.model import PIPELINE_MEMORY, scheme_of
from pipeline.plan.planner import pairs
from pipeline.recipe import DatasetPrompts, HubSource, Loaded, Recipe
from pipeline.release.other_work import OthersWorkError, Terms, require
from pipeline.source.layout import Folder, Place, read_source
from pipeline.source.readers import readers

ALWAYS: Final = {"models": ("torch", "diffusers", "transformers", "torchmetrics")}  # for quantizing and validating
AT_ONCE: Final = 8  # repositories that are asked for at the same time
SLOW: Final = 2.0  # seconds for the cheapest question
ISSUER: Final = "https://token.actions.githubusercontent.com"
WORKFLOW: Final = "publish.yml"
BRANCH: Final = "main"
ON_GITHUB: Final = re.compile(r"(?:^|[@/])github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$")
ADOPT: Final = (
    "Publish under another name, or say `adopt: true` under `destination:` of the recipe; `publish plan` then tells "
    "what of it would be overwritten."
)
IF_PUBLISHED: Final = "it is needed only if its plan publishes it, which `publish plan` says"
ANOTHER_TOKEN: Final = "Use a token with the write role for the destinations (HF_TOKEN, or hf auth login)."  # noqa: S105


@dataclass(frozen=True)
class Doctor:
    """What is looked at.

    Attributes:
        recipes: What is to be published.
        home: Where it is made.
        hub: Where it is published, and the first place where a source is looked for.
        fallback: The Hub that sources come from otherwise.
        github: The repository on GitHub whose workflow publishes, ``owner/name``, where it is known.
    """

    recipes: Sequence[Loaded]
    home: Path
    hub: Hub
    fallback: Hub
    github: str | None = None

    def remarks(self) -> list[Remark]:
        """Look at everything; what is slow is done at the same time, and told in a fixed order."""
        needed = extras_of([loaded.recipe for loaded in self.recipes])
        with ThreadPoolExecutor(2) as pool:
            imported = pool.map(libraries, needed.keys(), needed.values())
            return [*self.of_hub(), *imported, processor(), graphics(self.without_gpu()), *self.of_room()]

    def of_hub(self) -> Iterator[Remark]:
        """Look at the Hub, the token, and every destination."""
        try:
            seconds = self.hub.reach()
        except PublishError as error:
            yield problem("hub", error)
            return
        told, wait = f"{self.hub.endpoint} answers in {seconds:.2f} s", "Expect long transfers, or use another network."
        yield Remark("warning", "hub", told, wait) if seconds > SLOW else Remark("ok", "hub", told)
        yield self.token()
        recipes = [loaded.recipe for loaded in self.recipes]
        repos = sorted({repo for recipe in recipes for repo in recipe.repositories.values()})
        maybe = {recipe.repositories[name] for recipe in recipes for name in recipe.for_cards}
        adopting = {repo for recipe in recipes if recipe.destination.adopt for repo in recipe.repositories.values()}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from pool.map(lambda repo: self.destination(repo, maybe, Terms(repo in adopting)), repos)
            yield from self.publishers(repos, list(pool.map(self.is_there, repos)), maybe)

    def token(self) -> Remark:
        """Say whose token it is and what it is for; never the token."""
        try:
            found = self.hub.bearer()
        except PublishError as error:
            return problem("token", error)
        if found is None:
            return Remark("warning", "token", "there is none", ANOTHER_TOKEN)
        told = f"it is {found.name}'s, with the role {found.role}"
        if found.role == "read":
            return Remark("problem", "token", told, ANOTHER_TOKEN)
        return Remark("ok", "token", f"{told}{''.join(f'; {scope}' for scope in found.scopes)}")

    def destination(self, repo: str, maybe: Set[str], terms: Terms) -> Remark:
        """Say whether the token may publish to a repository, and what of somebody else is in the way there.

        Args:
            repo: The repository.
            maybe: Those of a ladder, whose plans alone know whether they are published.
            terms: What a release may do to somebody's work.
        """
        try:
            there = self.hub.require_writer(repo)
            in_the_way = self.of_others(repo, terms) if there else None
        except PublishError as error:
            return problem("destination", error)
        who, needed = "this token" if self.hub.bearer() else "anybody", f"; {IF_PUBLISHED}" if repo in maybe else ""
        if there:
            return in_the_way or Remark("ok", "destination", f"{repo}: {who} may write it")
        return Remark("ok", "destination", f"{repo}: {who} may create it{needed}")

    def of_others(self, repo: str, terms: Terms) -> Remark | None:
        """Return what a run would be refused for before it is known which files it writes; None for nothing."""
        remote = self.hub.state(repo)
        held = look_at(self.hub, repo, remote.head, remote.tags, remote.release) if remote.head else None
        if held is None:
            return None
        try:
            require(self.hub, repo, held, frozenset(), terms)
        except OthersWorkError as error:
            return Remark("problem", "destination", f"{repo}: {error.what}", error.remedy if held.release else ADOPT)
        return None

    def is_there(self, repo: str) -> bool:
        """Return whether a destination is there; one that cannot be read counts as missing, and says so elsewhere."""
        try:
            return self.hub.find(repo, None) is not None
        except PublishError:
            return False

    def publishers(self, repos: Sequence[str], there: Sequence[bool], maybe: Set[str]) -> Iterator[Remark]:
        """Say what to enter on the Hub for a workflow that publishes without any secret."""
        if self.github is None:
            remedy = "Nothing to do for a token; for a workflow set GITHUB_REPOSITORY=owner/name to see what to enter."
            yield Remark("ok", "trusted publisher", "no repository on GitHub is known", remedy)
            return
        claims = f"issuer {ISSUER}, repository {self.github}, workflow {WORKFLOW}, branch {BRANCH}"
        for repo, known in zip(repos, there, strict=True):
            first = "The repository must exist first: create it, or run once with a token; then enter these claims."
            there_is = f"Enter these claims in {self.hub.endpoint}/{repo}/settings, unless they are there."
            first = f"{IF_PUBLISHED[:1].upper()}{IF_PUBLISHED[1:]}. {first}" if repo in maybe else first
            topic, text = "trusted publisher", f"{repo}: {claims}"
            yield Remark("ok", topic, text, there_is) if known else Remark("warning", topic, text, first)

    def without_gpu(self) -> list[str]:
        """Return the repositories whose libraries need a GPU to make them."""
        return [
            loaded.recipe.repositories[name]
            for loaded in self.recipes
            for name in loaded.recipe.targets
            if any(scheme_of(part).makes_on == "cuda" for _, part in pairs(loaded.recipe.artifacts(name)))
        ]

    def of_room(self) -> Iterator[Remark]:
        """Look at every source, and whether disk and memory hold the largest."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            sizes = list(pool.map(self.source_size, self.recipes))
        yield from (found for found in sizes if isinstance(found, Remark))
        known = [(size, loaded) for size, loaded in zip(sizes, self.recipes, strict=True) if isinstance(size, int)]
        largest, of = max(known, key=lambda pair: pair[0], default=(0, None))
        name = of.path.name if of else ""
        for size, loaded in known:
            yield Remark("ok", "source", f"{loaded.recipe.source.origin}: {human_size(size)}")
        copies = 3 if of and isinstance(of.recipe.source, HubSource) else 2  # the source, the result, and it read back
        yield disk(self.home, copies * largest, name)
        if found := memory(PIPELINE_MEMORY + largest if largest else 0, name):
            yield found

    def source_size(self, loaded: Loaded) -> int | Remark:
        """Return the bytes that are read of a source, or what is wrong with it."""
        source = loaded.recipe.source
        try:
            place: Place
            if isinstance(source, HubSource):
                first, other = readers(self.hub, self.fallback, source)
                hub = first if first.find(source.repo, source.revision) else other
                place = hub.source(source.repo, source.revision)
            else:
                place = Folder(loaded.resolve(source.path))
            return sum(place.files[name].size for name in read_source(place, source.variant).wanted)
        except PublishError as error:
            return problem("source", error)


def extras_of(recipes: Sequence[Recipe]) -> dict[str, tuple[str, ...]]:
    """Return the extras of this program that recipes need, each with what is imported of it."""
    backends = sorted({name for recipe in recipes for name in backends_of(recipe)})
    found: dict[str, tuple[str, ...]] = ALWAYS | {
        BACKENDS[name].EXTRA: packages_of(BACKENDS[name]) for name in backends
    }
    if any(isinstance(recipe.validation.prompts, DatasetPrompts) for recipe in recipes):
        found["datasets"] = ("datasets",)
    return found


def packages_of(backend: Backend) -> tuple[str, ...]:
    """Return what is imported of a backend: its library, and what its consumers import."""
    every = [backend.PACKAGE, *(package for loader in backend.LOADERS.values() for package in loader.imports)]
    return tuple(dict.fromkeys(every))


def backends_of(recipe: Recipe) -> set[str]:
    """Return the libraries that a recipe's targets name, and those that its budgets may choose from."""
    found: set[str] = set()
    for target in recipe.targets:
        budget, named = recipe.budget(target), {part.backend for _, part in pairs(recipe.artifacts(target))}
        found |= set(budget.backends or BACKENDS) if budget else named
    return found


def problem(topic: str, error: PublishError) -> Remark:
    """Return an error as a line of the examination."""
    what = f"{error.where}: {error.what}" if error.where else error.what
    return Remark("problem", topic, what, error.remedy or "Run again.")


def on_github(checkout: Path) -> str | None:
    """Return ``owner/name`` of the repository on GitHub that a checkout came from, or None."""
    command = ["git", "-C", str(checkout), "remote", "get-url", "origin"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):  # no git, which only this question needs
        return None
    found = ON_GITHUB.search(done.stdout.strip())
    return found[1] if found else None
