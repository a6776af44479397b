"""Plain models, and those of formats that are known by name and not checked."""

from __future__ import annotations

from typing import Final

from pipeline.lint.faults import told
from pipeline.lint.formats.protocol import Reading
from pipeline.lint.subject import Subject

MUTE: Final = ", and nothing in the file says what its codes stand for: no scale, no marker."
WHOLE: Final = "Ask its publisher for a whole file."
UNREAD: Final = {
    ".qweight": "GPTQ or AWQ",
    ".wscales": "SVDQuant (Nunchaku)",
    ".weight_blocks": "MXFP4 of gpt-oss",
    "_blocks": "MXFP4 of gpt-oss",
    ".svd_up": "SDNQ",
    ".weight_scale_inv": "float8 in blocks of 128 (DeepSeek)",
}
METHODS: Final = {
    "gptq": "GPTQ", "awq": "AWQ", "sdnq": "SDNQ", "fp8": "float8 in blocks (DeepSeek)", "mxfp4": "MXFP4 of gpt-oss",
    "auto-round": "AutoRound", "hqq": "HQQ", "aqlm": "AQLM", "svdquant": "SVDQuant (Nunchaku)",
}  # fmt: skip


def claims(subject: Subject) -> bool:  # noqa: ARG001  the last one takes what no other took
    """Return that a model is plain, unless it is anything else."""
    return True


def read(subject: Subject) -> Reading:
    """Return no weights, and what the model is where that can be told."""
    method = subject.method
    named = next((name for end, name in UNREAD.items() if any(each.endswith(end) for each in subject.tensors)), "")
    if kind := named or METHODS.get(method, f"of a method {told(method)!r}" if method else ""):
        return Reading(f"{kind}, of which only files and headers are looked at", [], used=frozenset(subject.tensors))
    lone = [
        name
        for name, tensor in subject.tensors.items()
        if tensor.dtype in {"U8", "I8"} and len(tensor.shape) > 1 and name.endswith("weight")
    ]
    faults = [
        subject.fault("scale-missing", name, f"It is {subject.tensors[name].dtype}{MUTE}", WHOLE) for name in lone
    ]
    return Reading("codes of no known format" if lone else "plain, not quantized", [], faults, frozenset(lone))
