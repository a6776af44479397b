"""Black Forest Labs' float8 rows and nvfp4 in a single file, as diffusers' ``bfl`` quantizer reads them.

Nothing in the file says so but the tensors (``diffusers/quantizers/bfl``, 0.42.1): a ``weight_scale`` by itself is of
float8 with one scale a row, a ``weight_scale_2`` beside it of nvfp4, which then needs an ``input_scale``.
"""

from __future__ import annotations

from typing import Final

from pipeline.lint.faults import Fault
from pipeline.lint.formats import rules
from pipeline.lint.formats.protocol import Reading, Weight
from pipeline.lint.formats.rules import FLOAT8, float8, is_matrix, stems
from pipeline.lint.subject import Subject

TITLE: Final = "Black Forest Labs"
LOADERS: Final = "diffusers 0.42.1 and later by BFLQuantizationConfig, from a single file"
WHOSE: Final = (
    "Say whose it is: `_quantization_metadata` for ComfyUI, hf_quant_config.json for ModelOpt, or an `input_scale` for "
    "each layer, as diffusers' bfl quantizer needs it."
)


def claims(subject: Subject) -> bool:
    """Return whether layers have scales as this format calls them, and one a row or two."""
    return any(
        f"{stem}.weight_scale_2" in subject.tensors or len(subject.tensors[f"{stem}.weight_scale"].shape) == 1
        for stem in stems(subject.tensors, ".weight_scale")
        if is_matrix(subject.tensors.get(f"{stem}.weight")) and subject.tensors[f"{stem}.weight_scale"].shape != (1,)
    )


def read(subject: Subject) -> Reading:
    """Return its weights."""
    weights, faults = list[Weight](), list[Fault]()
    seconds = set(stems(subject.tensors, ".weight_scale_2"))
    for stem in sorted({*stems(subject.tensors, ".weight_scale"), *seconds}):
        codes = subject.tensors.get(f"{stem}.weight")
        if codes is None:
            text = "There is a scale and no weight beside it."
            faults.append(subject.fault("tensor-missing", f"{stem}.weight_scale", text))
        elif stem in seconds or (codes.dtype == "U8" and is_matrix(codes)):
            weights.append(rules.nvfp4(subject, f"{stem}.", f"nvfp4 ({TITLE})", calibrated=True))
        else:
            title = f"float8 per row ({TITLE})"
            weights.append(float8(subject, codes.name, f"{stem}.weight_scale", rows=True, title=title))
    known = {weight.name for weight in weights}
    for name, tensor in subject.tensors.items():
        if name.endswith(".weight") and tensor.dtype in FLOAT8 and name not in known:
            text = f"It is float8 and has no scale, where {len(weights)} other weights have one."
            faults.append(subject.fault("scale-missing", name, text, "Ask its publisher for a whole file."))
    if seconds and not any(f"{stem}.input_scale" in subject.tensors for stem in seconds):
        text = (
            f"It has {len(seconds)} weights of nvfp4 and nothing that says whose: no marker, no configuration, no "
            "`input_scale`. ComfyUI reads the first code of a byte from the high bits, ModelOpt and diffusers from the "
            "low ones; and without markers ComfyUI drops every scale."
        )
        faults.append(subject.fault("format-unclear", "", text, WHOSE))
    bare = frozenset(fault.tensor for fault in faults)
    return Reading(TITLE, weights, faults, bare, LOADERS)
