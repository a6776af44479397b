"""Imports what judges answers while they are made: this process would only wait for the one that makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Event, Thread

from pipeline.worker.startup import gc_paused


@contextmanager
def judges_imported(modules: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Import the modules that measuring takes beside a block, until it says that it is enough.

    What is not there is missed where it is used.
    """
    over = Event()

    def run() -> None:
        with gc_paused():
            for library in modules:
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
