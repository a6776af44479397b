"""NVIDIA ModelOpt's export: float8 with one scale a tensor, or nvfp4, as ``hf_quant_config.json`` says."""

from __future__ import annotations

from typing import Final

from pipeline.lint.faults import Fault, told
from pipeline.lint.formats import rules
from pipeline.lint.formats.protocol import Part, Reading, Weight
from pipeline.lint.formats.rules import CALIBRATE, float8, is_matrix, stems
from pipeline.lint.subject import Subject

TITLE: Final = "ModelOpt"
LOADERS: Final = "vLLM, SGLang and TensorRT-LLM; diffusers reads nvfp4 of a single file"
ALGORITHMS: Final = {
    "FP8": "float8",
    "NVFP4": "nvfp4",
    "NVFP4_AWQ": "nvfp4",
    "MIXED_PRECISION": "",
    "W4A8_NVFP4_FP8": "",
}


def claims(subject: Subject) -> bool:
    """Return whether the configuration names ModelOpt."""
    return subject.method.startswith("modelopt")


def read(subject: Subject) -> Reading:
    """Return its weights."""
    said = subject.quantization_config
    algorithm = said.get("quant_algo")
    faults = list[Fault]()
    if algorithm is not None and (not isinstance(algorithm, str) or algorithm not in ALGORITHMS):
        text = (
            f"The configuration names {told(str(algorithm))} as `quant_algo`, which is none of {', '.join(ALGORITHMS)}."
        )
        faults.append(subject.fault("marker-unknown", "", text))
    weights = list[Weight]()
    for stem in sorted({*stems(subject.tensors, ".weight_scale"), *stems(subject.tensors, ".weight_scale_2")}):
        codes = subject.tensors.get(f"{stem}.weight")
        if codes is None or not is_matrix(codes):
            text = "There is a scale and no weight of two axes beside it."
            faults.append(subject.fault("tensor-missing", f"{stem}.weight_scale", text))
            continue
        weights.append(weight_of(subject, stem))
        wanted = ALGORITHMS.get(str(algorithm), "")
        if wanted and not weights[-1].scheme.startswith(wanted):
            text = f"The configuration says {algorithm}, and it is {weights[-1].scheme}."
            faults.append(subject.fault("index-disagrees", codes.name, text))
    if not weights:
        text = "The configuration names ModelOpt, and no weight has a scale."
        faults.append(subject.fault("index-disagrees", "", text))
    caches = {name for name in subject.tensors if name.endswith((".k_scale", ".v_scale", ".pre_quant_scale"))}
    return Reading(TITLE, weights, faults, frozenset(caches), LOADERS, fuses=True)


def weight_of(subject: Subject, stem: str) -> Weight:
    """Return the weight of a layer."""
    if f"{stem}.weight_scale_2" in subject.tensors or subject.tensors[f"{stem}.weight"].dtype == "U8":
        return rules.nvfp4(subject, f"{stem}.", f"nvfp4 ({TITLE})", calibrated=True)
    name, title = f"{stem}.weight", f"float8 per tensor ({TITLE})"
    found = float8(subject, name, f"{stem}.weight_scale", rows=False, title=title)
    calibrated = Part(f"{stem}.input_scale", ("F32",), ((), (1,)), positive=True, remedy=CALIBRATE)
    parts = {**found.parts, "input": calibrated}
    return Weight(name, title, found.shape, name, parts, found.decode, found.unit, floor=found.floor)
