"""How ComfyUI is told what a weight is: a JSON object beside it, and the same ones once more in the header's metadata.

Both are read by some loaders only, so both are written; and only formats that stock ComfyUI knows (``QUANT_ALGOS`` in
its ``comfy/quant_ops.py``).
"""

from __future__ import annotations

import json
from typing import Any, Final

GROUP: Final = 256  # values that ConvRot rotates together
FORMATS: Final[dict[str, dict[str, Any]]] = {
    "int8": {"format": "int8_tensorwise", "per_row": True},
    "int8-convrot": {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": GROUP, "per_row": True},
    "fp8": {"format": "float8_e4m3fn"},
    "mxfp8": {"format": "mxfp8"},
    "nvfp4": {"format": "nvfp4"},
}


TILES: Final = {"mxfp8": 32, "nvfp4": 16}  # what rows and columns are a multiple of


def fits(scheme: str, shape: tuple[int, ...]) -> bool:
    """Return whether a weight is quantized: others would be filled up with zeros, which not every loader cuts off."""
    return all(size % TILES.get(scheme, 1) == 0 for size in shape)


def rotates(scheme: str, shape: tuple[int, ...]) -> bool:
    """Return whether the rows of a weight are rotated: those that are not whole groups stay as they are."""
    return scheme == "int8-convrot" and shape[1] % GROUP == 0


def marker(scheme: str, shape: tuple[int, ...]) -> str:
    """Return the JSON of a weight."""
    plain = scheme == "int8-convrot" and not rotates(scheme, shape)
    return json.dumps(FORMATS["int8" if plain else scheme])
