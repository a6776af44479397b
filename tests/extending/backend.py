"""rows8: Linear weights in 8 bits with one scale a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.backends import build as by_library
from pipeline.backends.oracle.quirks import Quirks
from pipeline.backends.protocol import Loader, Scheme, Skip

EXTRA = DISTRIBUTION = PACKAGE = "rows8"
SKIP: Skip = {"key": "modules_to_not_convert", "spelling": "module"}
SCHEMES = {"int8": Scheme("8-bit integers with one scale a row", "any device that torch runs on", 41.6, bits=8.5)}
LOADERS = {"diffusers": Loader(imports=("rows8",))}
build, quirks = by_library.build, Quirks


def configuration(scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a ``Rows8Config``."""
    return {"quant_method": "rows8"}
