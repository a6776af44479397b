"""What every verb shares: how to speak, where to work, which recipes and which Hub."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.console import Console
from pipeline.cli.logs import write_log
from pipeline.errors import CannotHereError, RecipeError
from pipeline.files import require_readable_name

if TYPE_CHECKING:
    from pipeline.hub.client import Hub
    from pipeline.hub.source import Repository
    from pipeline.recipe import Loaded, Vocabulary
    from pipeline.release.signing import Signer
    from pipeline.run import Engine
    from pipeline.source.layout import Folder


@dataclass
class Session:
    """What the options of every verb say.

    Attributes:
        console: How to speak.
        given_home: The home, where it was given.
        tracebacks: Whether to show where in the code an error came from.
        log: The log of this run; there is one as soon as somebody asks for the home.
    """

    console: Console
    given_home: Path | None
    tracebacks: bool
    log: Path | None = None

    def home(self, recipe: Path | None = None) -> Path:
        """Return the home: as given, else ``.publish`` in the checkout that holds the recipe, else here.

        Raises:
            CannotHereError: Its path is not UTF-8.
        """
        found = checkout_of(recipe.parent if recipe else Path()) / ".publish"
        home = self.given_home.resolve() if self.given_home is not None else found
        require_readable_name(home, "Name another home with --home or PUBLISH_HOME.")
        self.log = self.log or write_log(home)
        return home

    def recipes(self, given: list[Path] | None) -> list[Path]:
        """Return the recipes as given, else every one under ``recipes/`` of this checkout.

        What recipes include, and a shell's ``recipes/*.yaml`` names as well, is passed over.

        Raises:
            RecipeError: There is none.
        """
        from pipeline.fleet.reach import recipes_in
        from pipeline.recipe import is_included

        folder = checkout_of(Path()) / "recipes"
        found = [path for path in given if not is_included(path)] if given else recipes_in(folder)
        if not found:
            where = ", ".join(map(str, given)) if given else str(folder)
            raise RecipeError("There are no recipes.", where=where, remedy="Name them.")
        return found

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words that a recipe may use."""
        from pipeline.backends import FOLDERS, SCHEMES
        from pipeline.card.render import templates
        from pipeline.recipe import Vocabulary
        from pipeline.tasks import TASKS

        return Vocabulary(SCHEMES, frozenset(templates()), TASKS, FOLDERS)

    def load(self, recipe: Path) -> Loaded:
        """Read a recipe.

        Raises:
            InvalidRecipe: It has problems.
            RecipeError: It is a part that recipes include.
        """
        from pipeline.fleet.reach import including
        from pipeline.recipe import is_included, load

        if is_included(recipe) and recipe.is_file():
            remedy = f"Name a recipe: {including(recipe, self.vocabulary)}."
            raise RecipeError("This is a part that recipes include, and no recipe.", where=str(recipe), remedy=remedy)
        return load(recipe, self.vocabulary)

    @contextmanager
    def engine(
        self,
        recipe: Path,
        hub: str,
        *,
        stream: bool = False,
        signer: Signer | None = None,
        rebuild: bool = False,
        replace: bool = False,
        seal: Path | None = None,
    ) -> Iterator[Engine]:
        """Return the engine for a recipe, with the embedded Hub running if it is the one to publish to."""
        from pipeline.hub.client import Hub
        from pipeline.run import Engine

        loaded = self.load(recipe)
        home = self.home(recipe)
        with ExitStack() as stack:
            stack.enter_context(self.console)
            target = stack.enter_context(self.hub(home, hub))
            listen = self.console.listen
            fallback = Hub(listen=listen)
            yield Engine(
                loaded,
                home,
                target,
                fallback,
                listen,
                stream,
                signer,
                rebuild=rebuild,
                replace=replace,
                seal=seal and seal.resolve(),
            )

    @contextmanager
    def hub(self, home: Path, hub: str) -> Iterator[Hub]:
        """Return the Hub that the command line names."""
        from pipeline.hub.client import Hub
        from pipeline.hub.endpoint import require_importable

        require_importable()
        if hub != "local":
            yield Hub(hub or None, listen=self.console.listen)
            return
        with embedded(home) as running:
            yield running

    @contextmanager
    def hubs_soon(self, home: Path, hub: str) -> Iterator[tuple[Hub, Hub]]:
        """Return the Hub that the command line names and the one for sources, for somebody who sits and waits."""
        from pipeline.hub.client import Hub
        from pipeline.hub.retry import SOON

        with self.hub(home, hub) as target:
            target.patience = SOON
            yield target, Hub(patience=SOON)

    def source_at(self, source: str, revision: str | None = None, hubs: Sequence[Hub] = ()) -> Folder | Repository:
        """Return a folder of this machine, or a repository at a commit on the first Hub that has it.

        Args:
            source: The folder, or the repository's name.
            revision: The commit, branch or tag; the newest commit where none is named.
            hubs: Where it is looked for; on the Hub of ``HF_ENDPOINT`` where none is given.

        Raises:
            RecipeError: It is no name of a repository.
            SourceError: There is no such folder or repository.
        """
        from pipeline.hub.client import Hub
        from pipeline.recipe.addresses import read_name
        from pipeline.recipe.names import is_path
        from pipeline.source.layout import Folder

        if Path(source).exists() or is_path(source):
            return Folder(Path(source))
        for hub in hubs or [Hub(listen=self.console.listen)]:
            repo, named = read_name(source, revision, hub.endpoint)
            if commit := hub.find(repo, named):
                break
        return hub.source(repo, commit or named or "main")


def checkout_of(folder: Path) -> Path:
    """Return the checkout that holds a folder, or the folder itself."""
    start = folder.resolve()
    return next((above for above in (start, *start.parents) if (above / ".git").exists()), start)


@contextmanager
def embedded(home: Path) -> Iterator[Hub]:
    """Run the embedded Hub in this process; any token is its only user's."""
    from pipeline.hub.client import Hub

    with ExitStack() as stack:
        with local_hub_errors():
            from localhub.server import running

            endpoint = stack.enter_context(running(home / "hub"))
        stack.enter_context(directly("127.0.0.1"))
        # No secret: the server is ours and on loopback. Its port is another one each time, its folder is not.
        yield Hub(endpoint, token="local", name=str(home / "hub"))  # noqa: S106


@contextmanager
def local_hub_errors() -> Iterator[None]:
    """Tell of an embedded Hub that is not installed, or cannot be served, as of everything else."""
    from localhub.errors import FaultSyntaxError, LocalHubError

    try:
        yield
    except ImportError as error:
        what = f"The embedded Hub needs {error.name}, which is not installed."
        raise CannotHereError(what, remedy="Run `pip install 'quantpress[local]'`.") from error
    except LocalHubError as error:
        kind = RecipeError if isinstance(error, FaultSyntaxError) else CannotHereError
        raise kind(error.what, where=error.where, remedy=error.remedy) from error


@contextmanager
def directly(host: str) -> Iterator[None]:
    """Have this process and its children ask a server of this machine past the proxies that the environment names."""
    before = {name: os.environ.get(name) for name in ("NO_PROXY", "no_proxy")}
    known = before["no_proxy"] or before["NO_PROXY"]
    os.environ |= dict.fromkeys(before, f"{known},{host}" if known else host)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ |= {} if value is None else {name: value}
