"""What the formats keep their weights in, read and written just well enough to spoil them.

Shapes are those of the files: nf4 keeps two codes a byte and a code of one byte for the scale of each block of 64, the
others one code a value; scales are one a row, or one a group of 128 for quanto's int4.
"""

from __future__ import annotations

import json
from typing import Any

from tests.gate.damage import Tensors

BLOCK = 64
NESTED = 256


def nf4_layers(held: Tensors) -> list[str]:
    """Return the layers of a file that are nf4."""
    return [name.removesuffix(".weight.absmax") for name in held if name.endswith(".weight.absmax")]


def nf4_state(held: Tensors, layer: str) -> dict[str, Any]:
    """Return what the file says of a layer's shape and statistics."""
    found: dict[str, Any] = json.loads(bytes(held[state_name(layer)].tolist()))
    return found


def nf4_state_as(state: dict[str, Any]) -> Any:
    """Return it as the file keeps it."""
    import torch

    return torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)


def state_name(layer: str) -> str:
    """Return the tensor that carries it."""
    return f"{layer}.weight.quant_state.bitsandbytes__nf4"


def nf4_absmax(held: Tensors, layer: str) -> Any:
    """Return the scales of a layer's blocks, shape (rows, blocks)."""
    name = f"{layer}.weight"
    state = nf4_state(held, layer)
    large = held[f"{name}.nested_absmax"].repeat_interleave(NESTED)
    codes = held[f"{name}.absmax"]
    values = held[f"{name}.nested_quant_map"][codes.long()] * large[: codes.numel()] + state["nested_offset"]
    return values.reshape(state["shape"][0], -1)


def nf4_with_absmax(held: Tensors, layer: str, absmax: Any) -> Tensors:
    """Return a layer's statistics for other scales, quantized again as bitsandbytes does it."""
    import torch

    name, flat = f"{layer}.weight", absmax.reshape(-1)
    offset = flat.mean()
    rest = torch.nn.functional.pad(flat - offset, (0, -flat.numel() % NESTED)).reshape(-1, NESTED)
    large = rest.abs().amax(dim=1)
    codes = (rest / large[:, None].clamp(min=1e-30))[..., None].sub(held[f"{name}.nested_quant_map"]).abs().argmin(-1)
    state = nf4_state(held, layer) | {"nested_offset": float(offset)}
    return {
        f"{name}.absmax": codes.reshape(-1)[: flat.numel()].to(torch.uint8),
        f"{name}.nested_absmax": large,
        state_name(layer): nf4_state_as(state),
    }


def halves(codes: Any) -> tuple[Any, Any]:
    """Return the first and the second code of each byte."""
    return codes >> 4, codes & 15


def bytes_of(first: Any, second: Any) -> Any:
    """Return bytes of two codes."""
    return first << 4 | second


def renamed(held: Tensors, old: str, new: str) -> Tensors:
    """Return what a layer would hold if it held what another one does."""
    return {name.replace(old, new, 1): tensor for name, tensor in held.items() if name.startswith(f"{old}.")}


def fewer_levels(codes: Any, bits: int) -> Any:
    """Return codes of 8 bits that take only as many values as fewer bits have."""
    import torch

    step = 255 / (2**bits - 1)
    return (((codes.float() + 127.5) / step).round() * step - 127.5).round().clamp(-127, 127).to(torch.int8)


def requantized(weight: Any) -> tuple[Any, Any]:
    """Return 8-bit codes of a weight and the scale of each row, shape (rows, 1)."""
    import torch

    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
    return (weight / scale).round().to(torch.int8), scale
