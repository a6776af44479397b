"""How a consumer turns what a backend made back into a model, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import resolve_name
from typing import Any, Final

from pipeline.backends.artifact import SAFETENSORS, Form

EVERYWHERE: Final = ("cpu", "cuda", "mps", "xpu")


@dataclass(frozen=True)
class Loader:
    """How one library, diffusers or transformers, loads what a backend made of a component of it.

    Its ``from_pretrained`` does, once everything is imported that tells it of the method, unless another function opens
    what was made as an object that is called in the same way.

    Attributes:
        imports: Packages that a consumer imports before that.
        devices: Where it works unaided.
        lift: The `Lift` by which validation makes it work without a GPU as well, as ``module:name``, so that nothing
            of a library is imported before it is loaded.
        onto_gpu: Whether ``from_pretrained`` puts it onto the GPU by itself where there is one, offloaded later or not.
        form: In what files it lies.
        opens: The function that is called with class and folder instead of ``from_pretrained``, as ``module:name``.
        part: The function that opens one component of a pipeline, which ``from_pretrained`` is given, or a model that
            is no pipeline, as ``module:name``: it is called with the class, the folder and the torch dtype.
        lays: The function that lays a component out in one file whose names are not the library's, as ``module:name``:
            it is called with class, config, shapes and what reads the files of its tokenizer.
        how: The sentence on how that loads it, for report and card.
        teaches: A module of ours that tells the library what becomes of a component, where it does not know the method.
        usage: What the name of the template of a card's snippet begins with, where it is another than the task's own.
        spares: Distributions that the task's own snippet takes, and that one does without.
        line: The line of that snippet that loads it.
        library: What the Hub is told loads it, where it is another library than the task's.
    """

    imports: tuple[str, ...] = ()
    devices: tuple[str, ...] = EVERYWHERE
    lift: str = ""
    onto_gpu: bool = False
    form: Form = SAFETENSORS
    opens: str = ""
    part: str = ""
    lays: str = ""
    how: str = ""
    teaches: str = ""
    usage: str = ""
    spares: tuple[str, ...] = ()
    line: str = ""
    library: str = ""

    def learn(self) -> None:
        """Import what tells the library of the method."""
        for package in (*self.imports, *((self.teaches,) if self.teaches else ())):
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
