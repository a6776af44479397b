"""Scaled float8 as it is in the wild, under both spellings of its scale, and float8 without any.

ComfyUI's older files have ``scale_weight`` and ``scale_input`` beside each weight and one ``scaled_fp8`` in the file,
by which ComfyUI knows them (``comfy/utils.py``, ``convert_old_quants``); others have ``weight_scale`` and no marker.
"""

from __future__ import annotations

from typing import Final

from pipeline.lint.faults import Fault
from pipeline.lint.formats.protocol import FLOORS, Part, Reading, Weight
from pipeline.lint.formats.rules import FLOAT8, bare, float8, is_matrix, stems
from pipeline.lint.subject import Subject

MARK: Final = "scaled_fp8"
BARE: Final = "float8 without scales"
OLD, NEW = ".scale_weight", ".weight_scale"
RENAME: Final = "Name them all `scale_weight` beside one `scaled_fp8`, or all `weight_scale` with a marker each."


def claims(subject: Subject) -> bool:
    """Return whether weights are float8."""
    return any(tensor.dtype in FLOAT8 and is_matrix(tensor) for tensor in subject.tensors.values())


def read(subject: Subject) -> Reading:
    """Return its weights."""
    old, new = stems(subject.tensors, OLD), stems(subject.tensors, NEW)
    marks = [name for name in subject.tensors if name == MARK or name.endswith(f".{MARK}")]
    title = "ComfyUI's scaled float8" if old or marks else "scaled float8, nobody's" if new else BARE
    faults = spelled(subject, old, new, marks)
    weights = list[Weight]()
    scaled = {f"{stem}.weight": f"{stem}{OLD}" for stem in old} | {f"{stem}.weight": f"{stem}{NEW}" for stem in new}
    for name, scale in scaled.items():
        if name not in subject.tensors:
            faults.append(subject.fault("tensor-missing", scale, "There is a scale and no weight beside it."))
    for name, tensor in subject.tensors.items():
        if tensor.dtype in FLOAT8 and (is_matrix(tensor) or name in scaled):
            weights.append(weight_of(subject, name, scaled.get(name, ""), title))
        if tensor.dtype in FLOAT8 and is_matrix(tensor) and len(scaled) > 1 and name not in scaled:
            text = f"It is float8 and has no scale, where {len(scaled)} other weights have one."
            faults.append(subject.fault("scale-missing", name, text, "Ask its publisher for a whole file."))
    used = {*marks, *(f"{stem}.scale_input" for stem in old), *(f"{stem}.input_scale" for stem in (*old, *new))}
    loaders = "ComfyUI and who follows it" if old and marks else "whoever knows by its name what it is"
    return Reading(title, weights, faults, frozenset(used), loaders)


def spelled(subject: Subject, old: list[str], new: list[str], marks: list[str]) -> list[Fault]:
    """Return the faults of how scales are called."""
    if old and new:
        text = f"{len(old)} scales are called scale_weight and {len(new)} weight_scale; loaders apply one of them."
        return [subject.fault("format-unclear", f"{new[0]}{NEW}", text, RENAME)]
    if old and not marks:
        text = f"{len(old)} scales are called scale_weight, and ComfyUI applies them only beside a `{MARK}`."
        return [subject.fault("marker-missing", f"{old[0]}{OLD}", text, f"Add a float8 tensor `{MARK}`.")]
    if new:
        text = f"{len(new)} scales are called weight_scale and no layer is marked, so ComfyUI drops them."
        return [subject.fault("marker-missing", f"{new[0]}{NEW}", text, RENAME)]
    return []


def weight_of(subject: Subject, name: str, scale: str, title: str) -> Weight:
    """Return a float8 weight, with its scale if it has one."""
    if scale:
        found = float8(subject, name, scale, rows=False, title=f"float8 per tensor ({title})")
        inputs = scale.replace("scale_weight", "scale_input").replace("weight_scale", "input_scale")
        parts = {**found.parts, "input": Part(inputs, ("F32",), ((), (1,)), needed=False, positive=True)}
        return Weight(name, found.scheme, found.shape, name, parts, found.decode, found.unit, floor=FLOORS[8])
    tensor = subject.tensors[name]
    return Weight(name, title, tensor.shape, name, {"codes": Part(name, FLOAT8)}, bare(tensor.dtype), floor=FLOORS[8])
