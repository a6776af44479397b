"""How a consumer turns what a backend made back into a model, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import resolve_name
from typing import Any, Final

EVERYWHERE: Final = ("cpu", "cuda", "mps", "xpu")


@dataclass(frozen=True)
class Loader:
    """How one library, diffusers or transformers, loads what a backend made of a component of it.

    Its ``from_pretrained`` does, once everything is imported that tells it of the method.

    Attributes:
        imports: Packages that a consumer imports before that.
        devices: Where it works unaided.
        lift: The `Lift` by which validation makes it work without a GPU as well, as ``module:name``, so that nothing
            of a library is imported before it is loaded.
        onto_gpu: Whether ``from_pretrained`` puts it onto the GPU by itself where there is one, offloaded later or not.
    """

    imports: tuple[str, ...] = ()
    devices: tuple[str, ...] = EVERYWHERE
    lift: str = ""
    onto_gpu: bool = False

    def learn(self) -> None:
        """Import what tells the library of the method."""
        for package in self.imports:
            import_module(package)


@dataclass(frozen=True)
class Lift:
    """What stands in the way of a checkpoint on a machine without a GPU, and is lifted in the process that loads it.

    Attributes:
        before: Called before anything is loaded.
        after: Called with the components that were loaded, by their names, before they are used.
        arguments: Further arguments of ``from_pretrained``.

    Both functions return a sentence for the report and the card; it is empty where they had nothing to do.
    """

    before: Callable[[], str]
    after: Callable[[Mapping[str, Any]], str]
    arguments: Mapping[str, Any] = field(default_factory=dict)


def lifts_of(loaders: Iterable[Loader]) -> list[Lift]:
    """Return what is lifted for some loaders on a machine without a GPU, each once."""
    return [resolve_name(place) for place in dict.fromkeys(loader.lift for loader in loaders) if place]
