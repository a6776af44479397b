"""What bitsandbytes says beside the codes of a weight."""

from __future__ import annotations

from typing import Any

BLOCK = 64  # weights that share an absmax; bitsandbytes' own default
NESTED_BLOCK = 256  # absmax values that share one of their own under double quantization


def state(scheme: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    """Return what ``QuantState`` says of a weight whose absmax values are not quantized."""
    return {"quant_type": scheme, "blocksize": BLOCK, "dtype": dtype, "shape": shape}
