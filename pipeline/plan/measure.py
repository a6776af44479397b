"""What schemes leave of a source's own weights, measured on a sample of their rows by the kernels that pack them.

A scheme states what it leaves of normally distributed weights. Those of trained models differ: where a few values
outgrow the rest, one scale a row serves none of them well. So some rows of each kind of weight, at places spread over
the depth, are read by ranges and packed as they would be. What was found is kept by the digests of the files, the rows
and the scheme. It is rounded to tenths of decibels, and kernels sum in one order, so that it is the same everywhere.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from math import isnan, log10, prod
from pathlib import Path
from types import ModuleType
from typing import Final, cast

from pydantic import BaseModel, ConfigDict, ValidationError

import pipeline.kernels
from pipeline.backends import BACKENDS, STREAMING
from pipeline.files import ListedFile, digest_of, pretty_json, sha256_file, write_atomically
from pipeline.plan.model import ResolvedComponent, scheme_of
from pipeline.recipe import Quantization
from pipeline.source.layout import Place
from pipeline.source.safetensors import DTYPE_SIZES, FLOATS, STORED_DTYPES

KINDS: Final = 16  # of weights in a component that are looked at, those of the most parameters
PLACES: Final = 4  # over the depth at which rows of a kind are read, each in one request
ROWS: Final = 8  # read at a place; those of a kind together are a multiple of 16, as quanto's int4 asks
AT_ONCE: Final = 8  # requests under way
NUMBER: Final = re.compile(r"\d+")
LOSSLESS: Final = 100.0  # decibels where nothing is lost


class Measured(BaseModel):
    """What a scheme was found to leave of a component's weights.

    Attributes:
        rows: How many rows were looked at; none where nothing could be measured.
        sqnr: Decibels of signal over noise; None where nothing was measured, or a row would read back as NaN.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = 0
    sqnr: float | None = None

    @property
    def spoiled(self) -> bool:
        """Whether the scheme cannot take a row that was looked at, so that making it would fail."""
        return self.rows > 0 and self.sqnr is None


@dataclass(frozen=True)
class Run:
    """Neighbouring rows of a tensor, as a range of a file."""

    file: str
    begin: int
    end: int


@dataclass(frozen=True)
class Kind:
    """Weights of a component that differ in nothing but their places in the depth.

    Attributes:
        name: The name of one of them in the result.
        columns: How long their rows are.
        stored: The safetensors dtype that the source has them in.
        dtype: The torch dtype in which they are quantized.
        parameters: How many parameters they have together.
        runs: The rows that are looked at.
    """

    name: str
    columns: int
    stored: str
    dtype: str
    parameters: int
    runs: tuple[Run, ...]

    @property
    def rows(self) -> int:
        """How many rows are looked at."""
        return sum(run.end - run.begin for run in self.runs) // (self.columns * DTYPE_SIZES[self.stored])


@dataclass(frozen=True)
class Sample:
    """Rows of a source, read once for all schemes.

    Attributes:
        place: Where the source lies.
        files: Its files with their digests.
        kept: The folder that keeps what was measured.
        read: The rows that were read so far.
    """

    place: Place
    files: Mapping[str, ListedFile]
    kept: Path
    read: dict[Run, bytes] = field(default_factory=dict)

    def measure(self, part: ResolvedComponent) -> Measured:
        """Return what a scheme leaves of a component; nothing where no kernel of ours says it.

        Raises:
            SourceError: The rows cannot be read.
            HubUnavailableError: The Hub does not answer.
        """
        kinds = kinds_of(part) if part.streamed else []
        if not kinds:
            return Measured()
        runs = [run for kind in kinds for run in kind.runs]
        asked = {
            "files": {run.file: self.files[run.file].model_dump(mode="json") for run in runs},
            "kinds": [asdict(kind) for kind in kinds],
            "quantization": part.quantization.model_dump(mode="json"),
            "measurer": measurer(part.quantization.backend),
        }
        kept = self.kept / f"{digest_of(asked)}.json"
        try:
            return Measured.model_validate_json(kept.read_bytes())
        except (FileNotFoundError, ValidationError):
            self._fetch(runs)
        contents = {kind: b"".join(self.read[run] for run in kind.runs) for kind in kinds}
        found = measured(part.quantization, contents)
        write_atomically(kept, pretty_json(found.model_dump(mode="json")))
        return found

    def _fetch(self, runs: Iterable[Run]) -> None:
        missing = [run for run in dict.fromkeys(runs) if run not in self.read]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            contents = pool.map(lambda run: self.place.read(run.file, run.begin, run.end - run.begin), missing)
            self.read.update(zip(missing, contents, strict=True))


def kinds_of(part: ResolvedComponent) -> list[Kind]:
    """Return the kinds of weights that a scheme takes, those of the most parameters first.

    Weights that the library turns before it quantizes them are left out: their rows are no ranges of the file.
    """
    tensors = part.tensors
    files = {name: file for file, slots in part.slots.items() for name in slots}
    alike: dict[tuple[str, int, str, str], list[str]] = {}
    for name, conversion in part.answer.conversions.items():
        slot = tensors[name]
        straight = conversion.quantized and not conversion.transposed
        if straight and slot.dtype in FLOATS and slot.begin < slot.end:
            alike.setdefault((NUMBER.sub("*", name), slot.shape[1], slot.dtype, conversion.dtype), []).append(name)
    found = []
    for (_, columns, stored, dtype), names in alike.items():
        runs: dict[Run, None] = {}
        for place in range(PLACES):
            name = names[(2 * place + 1) * len(names) // (2 * PLACES)]
            (rows, _), row = tensors[name].shape, columns * DTYPE_SIZES[stored]
            count = min(ROWS, rows)
            begin = tensors[name].begin + (2 * place + 1) * (rows - count) // (2 * PLACES) * row
            runs[Run(files[name], begin, begin + count * row)] = None
        written = part.answer.conversions[names[0]].name_of(names[0])
        parameters = sum(prod(tensors[name].shape) for name in names)
        found.append(Kind(written, columns, stored, dtype, parameters, tuple(runs)))
    return sorted(found, key=lambda kind: (-kind.parameters, kind.name))[:KINDS]


def measured(quantization: Quantization, contents: Mapping[Kind, bytes]) -> Measured:
    """Return what a scheme leaves of rows, each kind counted by its parameters."""
    lost = {kind: loss(quantization, kind, content) for kind, content in contents.items()}
    known = {kind: share for kind, share in lost.items() if share is not None}
    if not known:
        return Measured()
    rows = sum(kind.rows for kind in known)
    noise = sum(kind.parameters * share for kind, share in known.items()) / sum(kind.parameters for kind in known)
    if isnan(noise):
        return Measured(rows=rows)
    scheme = scheme_of(quantization)
    noise += 10 ** (-scheme.sqnr / 10) / 2 if scheme.computes_in_codes else 0.0
    return Measured(rows=rows, sqnr=min(round(-10 * log10(noise), 1), LOSSLESS) if noise else LOSSLESS)


def loss(quantization: Quantization, kind: Kind, content: bytes) -> float | None:
    """Return noise over signal of rows; None where they say nothing: all zero, no numbers, or no kernel takes them.

    NaN is of rows that a scheme cannot take.
    """
    import numpy as np

    from pipeline.kernels.cast import VALUES, non_finite
    from pipeline.kernels.cast import cast as as_stored

    backend, wanted = STREAMING.get(quantization.backend), STORED_DTYPES[kind.dtype]
    values = np.frombuffer(content, VALUES[kind.stored])
    held = as_stored(values, kind.stored, wanted)
    if non_finite(values, kind.stored) or non_finite(held, wanted) or backend is None:
        return None
    shape = kind.rows, kind.columns
    packing = backend.packing(quantization.scheme, quantization.options, kind.name, shape, kind.dtype)
    if packing is None:
        return None
    packing.pack(0, held)
    done = packing.finish()
    if isnan(done.noise):  # as float8 has it of rows of zeros, which have no signal either
        return done.noise
    return done.noise / done.signal if done.signal else None


@cache
def measurer(backend: str) -> str:
    """Return the digest of the code that the answer depends on: this, the kernels, and what a backend makes of them."""
    own = Path(inspect.getfile(cast("ModuleType", BACKENDS[backend])))
    folders = [Path(pipeline.kernels.__file__).parent, own.parent]
    shared = own.parents[1] / "packings.py"
    files = [Path(__file__), shared, *(file for at in folders for file in sorted(at.glob("*.py")))]
    return digest_of([sha256_file(file) for file in files])
