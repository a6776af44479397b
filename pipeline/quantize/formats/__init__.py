"""Formats: what a file of weights is beside the bytes of its tensors, a module each in a dict literal."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from pipeline.quantize.formats import gguf, safetensors
from pipeline.quantize.formats.layout import FileLayout
from pipeline.source.safetensors import Specs, TensorInfo


class FileFormat(Protocol):
    """A module that stands for one format of files."""

    @property
    def ALIGNMENT(self) -> int:  # noqa: N802
        """Bytes of which the place of each tensor is a multiple; zeros fill what is left before it."""

    def place(self, tensors: Specs, scattered: Collection[str] = ()) -> FileLayout:
        """Decide where tensors lie in a file; those that are scattered come in any order, and are the last ones."""

    def header(self, slots: Mapping[str, TensorInfo], metadata: Mapping[str, Any]) -> bytes:
        """Return what a file says of its tensors, in the order of their places."""

    def start(self, size: int) -> int:
        """Return the byte where tensors begin behind a header of so many bytes."""

    def prefix(self, header: bytes, start: int) -> bytes:
        """Return the first ``start`` bytes of a file.

        Raises:
            ValueError: The header is longer than that.
        """


# By the word of a backend's form.
FORMATS: dict[str, FileFormat] = {"safetensors": safetensors, "gguf": gguf}
