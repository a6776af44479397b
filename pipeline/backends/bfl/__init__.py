"""Black Forest Labs' formats, which diffusers' ``bfl`` quantizer reads from a single file.

Its NVFP4 has the tensors of NVIDIA ModelOpt's, which vLLM and sglang read; neither was run with it. Weights are taken
as float32, as diffusers' own functions do. What a family has in one tensor, such as the three projections of
attention, is quantized as one: diffusers takes it apart with its scales. Of a folder it reads no such file, so the
config says for others what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.backends import build as by_library
from pipeline.backends.artifact import Form
from pipeline.backends.oracle.quirks import Quirks
from pipeline.backends.protocol import Calibrated, Layout, Loader, Named, Packed, Packing, Scheme, Skip

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

EXTRA = "bfl"
DISTRIBUTION = "diffusers"
PACKAGE = "diffusers"
SKIP: Skip = {"key": "modules_to_not_convert", "spelling": "module"}
FORM = Form(("*-fp8.safetensors", "*-nvfp4.safetensors"), single=True, joint="-")
BLOCK = 16


class Static(Calibrated, Named):
    """What is fitted to answers of the source, in a file."""


REFUSES = {"transformers": "transformers reads no file of this kind"}
SCHEMES = {
    "fp8": Scheme(
        "8-bit floats (e4m3) with one scale a row, activations quantized as they come",
        "diffusers 0.42 or later; CUDA devices since 8.9 multiply the codes, any other device unpacks each "
        "layer whenever it is called, and leaves activations as they are",
        28.5,
        Named,
        suffix="fp8",
        refuses=REFUSES,
        activations="dynamic",
    ),
    "nvfp4": Scheme(
        "4-bit floats in blocks of 16 as NVIDIA ModelOpt packs them, activations with one scale a layer, read off "
        "while the source answered questions",
        "diffusers 0.42 or later; CUDA devices since 10.0 with FlashInfer multiply the codes, any other device "
        "unpacks each layer whenever it is called, and leaves activations as they are",
        17.4,
        Static,
        suffix="nvfp4",
        refuses=REFUSES,
        multiple=BLOCK,
        activations="static",
    ),
}
LOADERS = {
    "diffusers": Loader(
        form=FORM,
        part="pipeline.backends.bfl.library:opened",
        lift="pipeline.backends.bfl.library:UNPACKED",
        how="from_single_file for what is in Black Forest Labs' format, and from_pretrained for the rest",
    )
}

build = partial(by_library.build, worker="pipeline.backends.bfl.worker", form=FORM)


def configuration(scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file is quantized with, and whose names its tensors have."""
    return {"quant_method": "bfl", "scheme": scheme, "names": options["names"]}


def quirks() -> Quirks:
    """Return how diffusers is asked, which reads such files and does not make them."""
    from pipeline.backends.bfl import library

    return Quirks(quantizer=library.Asked, refuse=library.refuse_unreadable, left_because=library.left_because)


def fits(scheme: str, columns: int) -> bool:
    """Return whether rows are whole blocks; diffusers fails on others."""
    return columns % SCHEMES[scheme].multiple == 0


def layout(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Layout:  # noqa: ARG001
    """Return the tensors of a weight: codes and scales, and that of the activations."""
    rows, columns = shape
    if scheme == "fp8":
        return {name: ("F8_E4M3", shape), f"{name}_scale": ("F32", (rows,))}
    return {
        name: ("U8", (rows, columns // 2)),
        f"{name}_scale": ("F8_E4M3", (rows, columns // BLOCK)),
        f"{name}_scale_2": ("F32", ()),
        f"{name.removesuffix('weight')}input_scale": ("F32", ()),
    }


def pack(scheme: str, options: Mapping[str, Any], name: str, weight: torch.Tensor) -> Packed:
    """Quantize one weight with diffusers' own functions."""
    import torch
    from diffusers.quantizers.bfl.utils import quantize_fp8r, quantize_nvfp4

    if scheme == "fp8":
        return Packed(dict(zip((name, f"{name}_scale"), quantize_fp8r(weight), strict=True)))
    module = name.removesuffix(".weight")
    names = name, f"{name}_scale", f"{name}_scale_2", f"{module}.input_scale"
    given = torch.from_numpy(input_scale(options["inputs"][module])).to(weight.device)
    return Packed(dict(zip(names, (*quantize_nvfp4(weight), given), strict=True)))


def input_scale(largest: float) -> NDArray[Any]:
    """Return the scale of activations as NVIDIA ModelOpt has it, given the largest absolute value of them."""
    import numpy as np

    return np.array(np.float32(largest) / np.float32(448 * 6))


def packing(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Packing | None:
    """Return our own packing of a weight; there is none of rows that are no whole blocks."""
    from pipeline.backends.bfl.packings import CalibratedFours, Float8Rows

    if scheme == "fp8":
        return Float8Rows(name, shape)
    return CalibratedFours(name, shape, dtype, options.get("inputs")) if fits(scheme, shape[1]) else None


def describe(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> str | None:
    """Return nothing: the header does not say that a weight is quantized."""


def metadata(scheme: str, class_name: str, parameters: list[str], packed: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001
    """Return the header's metadata, which says nothing of the quantization."""
    return {"format": "pt"}
