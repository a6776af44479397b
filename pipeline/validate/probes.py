"""In the consumer's process: what every layer of a model answers to fixed noise, written to one file.

A Linear is called, whatever library made it, so this sees what users get: weights, scales and kernels together. Of all
other tensors a sketch is kept, whose difference has the length of theirs (Charikar, Chen and Farach-Colton, 2002).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from pipeline.tasks.protocol import LoadedModel

FILE: Final = "layers.safetensors"
ROWS = 32  # of noise in one call: kernels for matrices want more than 16 of them
KEPT_ROWS = 8  # of the answers
FEW_OUTPUTS = 16  # up to which all rows are kept: of 8 numbers one clean layer in 31 would seem 6 dB worse than it is
BUCKETS = 256  # numbers in a sketch
CHUNK = 1 << 20  # values that are sketched at a time
SEED = 20


def write_answers(loaded: LoadedModel, dtype: str, to: Path) -> None:
    """Ask every layer of every component and write the answers, by ``component/layer``.

    Linear layers answer with a tensor of shape (8, out_features), or (32, out_features) where outputs are few, without
    their bias; other parameters and buffers with a sketch of shape (256,). The metadata names the layers that are
    quantized, the tensors that a library keeps in a form that cannot be read, and what it has of neither.

    Args:
        loaded: The model.
        dtype: Name of the dtype that it was loaded with.
        to: The file.
    """
    import torch
    from safetensors.torch import save_file

    found: dict[str, Any] = {}
    quantized: list[str] = []
    unread: list[str] = []
    with torch.no_grad():  # quanto's kernels refuse inference tensors
        for component, model in _models(loaded):
            for name, module in model.named_modules():
                key = f"{component}/{name}"
                if _is_linear(module) and module.weight.is_meta:
                    unread.append(key)
                elif _is_linear(module):
                    found[key] = _answer(module, getattr(torch, dtype), loaded.device)
                    quantized += [key] if _is_quantized(module) else []
                for part, tensor in _own_tensors(module):
                    whole = f"{key}.{part}" if name else f"{component}/{part}"
                    if tensor.is_floating_point() and not tensor.is_meta:
                        found[whole] = _sketch(tensor)
                    else:
                        unread.append(whole)
    save_file(found, to, {"quantized": json.dumps(quantized), "unread": json.dumps(unread)})


def named_in(file: Path, what: str) -> frozenset[str]:
    """Return the layers that a file of answers says are ``quantized``, or the tensors that were left ``unread``."""
    from safetensors import safe_open

    with safe_open(file, "np") as answers:  # "pt" would import torch
        return frozenset(json.loads(answers.metadata()[what]))


def _models(loaded: LoadedModel) -> Iterator[tuple[str, Any]]:
    """Return the components that have weights."""
    import torch

    for name, part in loaded.components.items():
        if isinstance(part, torch.nn.Module):
            yield name, part


def _is_linear(module: Any) -> bool:
    """Tell whether a module is a matrix to be called; GPT-2's Conv1D is, and becomes a Linear when it is quantized."""
    import torch

    return isinstance(module, torch.nn.Linear) or (type(module).__name__ == "Conv1D" and hasattr(module, "nf"))


def _is_quantized(module: Any) -> bool:
    """Tell whether a library holds the weight in a form of its own, or unpacked it of one, loading or called."""
    import torch

    weight = module.weight
    plain = type(weight.data) is torch.Tensor and weight.is_floating_point() and weight.itemsize > 1
    unpacked = hasattr(module, "quantization_scheme") or hasattr(weight, "unpacked_of")
    return unpacked or not plain


def _answer(module: Any, dtype: Any, device: Any) -> Any:
    """Return what a Linear makes of the noise. Its bias is taken away: beside a large one the rest would drown.

    The device is the model's: quanto's weights say they were on none (0.2.7).
    """
    import torch

    wanted = dtype if _is_quantized(module) else module.weight.dtype
    noise = _noise(module.nx if hasattr(module, "nx") else module.in_features).to(device=device, dtype=wanted)
    bias = module.bias
    if bias is not None:
        module.bias = torch.nn.Parameter(torch.zeros_like(bias), requires_grad=False)
    try:
        answers = module(noise)
        kept = ROWS if answers.shape[-1] <= FEW_OUTPUTS else KEPT_ROWS
        return answers[:kept].contiguous().cpu()
    finally:
        module.bias = bias


@cache
def _noise(columns: int) -> Any:
    import torch

    return torch.randn(ROWS, columns, generator=torch.Generator().manual_seed(SEED))


def _own_tensors(module: Any) -> Iterator[tuple[str, Any]]:
    """Return the parameters and buffers that are a module's own; of a Linear the bias, for the weight answers."""
    if _is_linear(module):
        yield from () if module.bias is None else [("bias", module.bias)]
        return
    for part, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        if tensor.numel():
            yield part, tensor


def _sketch(tensor: Any) -> Any:
    """Return the sums of a tensor's values over buckets, each value with a sign of its own."""
    import torch

    flat = tensor.detach().reshape(-1)
    found = torch.zeros(BUCKETS, dtype=torch.float64)
    signs = torch.Generator().manual_seed(SEED)
    for chunk in flat.split(CHUNK):
        values = chunk.double().cpu()
        values *= torch.randint(0, 2, (len(values),), generator=signs).mul_(2).sub_(1)
        missing = -len(values) % BUCKETS
        found += torch.nn.functional.pad(values, (0, missing)).reshape(-1, BUCKETS).sum(dim=0)
    return found.float()
