"""Imports what judges pictures while they are drawn: this process would only wait for the one that draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Event, Thread

from pipeline.worker.startup import gc_paused

LIBRARIES = (
    "torch",
    "torchmetrics.functional.image",
    "transformers.image_processing_utils",
    "transformers.models.clip.modeling_clip",
    "sklearn.datasets",
    "sklearn.svm",
)


@contextmanager
def judges_imported() -> Iterator[Callable[[], None]]:
    """Import the libraries of the metrics beside a block, until it says that it is enough.

    What is not there is missed where it is used.
    """
    over = Event()

    def run() -> None:
        with gc_paused():
            for library in LIBRARIES:
                if not over.is_set():
                    with suppress(ImportError):
                        import_module(library)

    thread = Thread(target=run)
    thread.start()
    try:
        yield over.set
    finally:
        over.set()
        thread.join()
