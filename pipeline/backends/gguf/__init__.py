"""GGUF: one file a component, its matrices in the blocks of llama.cpp, all else in full precision.

diffusers keeps the blocks in memory and unpacks each when its layer is called; transformers unpacks all of them while
it loads, and llama.cpp computes with them. Of a folder none reads GGUF that is not told its name, so the config stays
the source's, and the file tells how each tensor is stored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from pipeline.backends import build as by_library
from pipeline.backends.artifact import Form
from pipeline.backends.oracle.quirks import Quirks
from pipeline.backends.protocol import Layout, Loader, Options, Packed, Packing, Scheme, Skip
from pipeline.kernels.ggml import TYPES

if TYPE_CHECKING:
    import torch

EXTRA = "gguf"
DISTRIBUTION = "gguf"
PACKAGE = "gguf"
SKIP: Skip = {"key": "modules_to_not_convert", "spelling": "verbatim"}
FORM = Form(("*.gguf",), config=False, format="gguf", single=True, joint="-", label="pipeline.backends.gguf:mostly")

RUNS_ON = (
    "any device that torch runs on, where diffusers unpacks each layer whenever it is called, which costs time, and "
    "transformers all of them while it loads; llama.cpp runs models of transformers as they are"
)
Word = Literal[
    "q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0", "iq4_nl", "iq4_xs", "q3_k", "q2_k", "bf16"
]  # fmt: skip


class File(Options):
    """How single layers are quantized, and whose names tensors have.

    Attributes:
        layers: Schemes of modules that get another one, by their names or globs as in ``keep``; of several that fit
            the first counts.
        names: Whether tensors have diffusers' names, or those of the files of whoever trained the family; those of a
            component of transformers have llama.cpp's.
    """

    layers: dict[str, Word] = Field(
        default_factory=dict, description="Schemes of modules that get another one: by names or globs."
    )
    names: Literal["diffusers", "family"] = Field(default="diffusers", description="Whose names its tensors have.")


LABELS: Final = {"q5_k": "Q5_K_S", "q4_k": "Q4_K_S", "q3_k": "Q3_K_S"}  # of files of one type, as llama.cpp has it
FALLBACKS: Final = {  # where a row is no whole number of a type's blocks, as llama.cpp has it
    "q6_k": "q8_0", "q5_k": "q5_1", "q4_k": "q5_0", "q3_k": "iq4_nl", "q2_k": "iq4_nl", "iq4_xs": "iq4_nl",
}  # fmt: skip
SCHEMES = {
    name: Scheme(
        summary,
        RUNS_ON,
        sqnr,
        options=File,
        multiple=TYPES[FALLBACKS.get(name, name).upper()].block,
        suffix=LABELS.get(name, name.upper()),
    )
    for name, summary, sqnr in (
        ("q8_0", "8-bit integers in blocks of 32 with a scale", 45.4),
        ("q6_k", "6-bit integers in runs of 16 with an 8-bit scale, in blocks of 256", 35.0),
        ("q5_k", "5-bit integers in runs of 32 with 6-bit scale and minimum, in blocks of 256", 28.8),
        ("q5_1", "5-bit integers in blocks of 32 with a scale and a minimum", 28.4),
        ("q5_0", "5-bit integers in blocks of 32 with a scale", 27.4),
        ("q4_k", "4-bit integers in runs of 32 with 6-bit scale and minimum, in blocks of 256", 22.9),
        ("q4_1", "4-bit integers in blocks of 32 with a scale and a minimum", 22.1),
        ("q4_0", "4-bit integers in blocks of 32 with a scale", 21.3),
        ("iq4_nl", "4 bits for one of 16 uneven levels, in blocks of 32 with a scale", 22.4),
        ("iq4_xs", "4 bits for one of 16 uneven levels, in runs of 32 with a 6-bit scale, in blocks of 256", 22.3),
        ("q3_k", "3-bit integers in runs of 16 with a 6-bit scale, in blocks of 256", 16.4),
        ("q2_k", "2-bit integers in runs of 16 with 4-bit scale and minimum, in blocks of 256", 10.6),
        ("bf16", "bfloat16 numbers", 55.6),
    )
}
LOADERS = {
    "diffusers": Loader(
        form=FORM,
        part="pipeline.backends.gguf.library:opened",
        how="from_single_file for what is GGUF, and from_pretrained for the rest",
    ),
    "transformers": Loader(
        form=FORM,
        part="pipeline.backends.gguf.models:opened",
        lays="pipeline.backends.gguf.llama_cpp:laid_out",
        how="from_pretrained with gguf_file for what is GGUF",
    ),
}

QUANTIZATION_VERSION: Final = 2  # of the layout of blocks, as ggml counts it
FILE_TYPES: Final = {  # what llama.cpp calls a file that is mostly of a type
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K": 11, "Q4_K": 14,
    "Q5_K": 16, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "BF16": 32,
}  # fmt: skip
ARCHITECTURES: Final = {  # what other loaders call a family by; the rest have their own names
    "AuraFlowTransformer2DModel": "aura",
    "ChromaTransformer2DModel": "flux",
    "ChronoEditTransformer3DModel": "wan",
    "Flux2Transformer2DModel": "flux",
    "HiDreamImageTransformer2DModel": "hidream",
    "HunyuanVideoTransformer3DModel": "hyvid",
    "LTX2VideoTransformer3DModel": "ltxv",
    "LTXVideoTransformer3DModel": "ltxv",
    "QwenImageTransformer2DModel": "qwen_image",
    "SkyReelsV2Transformer3DModel": "wan",
    "WanAnimateTransformer3DModel": "wan",
    "WanVACETransformer3DModel": "wan",
    "ZImageTransformer2DModel": "lumina2",
}

build = partial(by_library.build, worker="pipeline.backends.gguf.worker", form=FORM)


def configuration(scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file is quantized with; no library writes it into a config."""
    return {"quant_method": "gguf", "scheme": scheme, **options}


def quirks() -> Quirks:
    """Return how diffusers and transformers are asked, which read GGUF and do not make it."""
    from pipeline.backends.gguf import library, models

    return Quirks(
        quantizer=library.quantizer,
        preparing=models.Asked,
        refuse=library.refuse_unreadable,
        stores=library.stored_as,
        left_because=library.left_because,
    )


def type_of(scheme: str, options: Mapping[str, Any], name: str, columns: int) -> str:
    """Return the type of ggml in which a weight is stored.

    Args:
        scheme: What the component is quantized to.
        options: Its options.
        name: The weight's name.
        columns: How many values a row of it has; where they are no whole number of blocks, another type steps in.

    Returns:
        The type as ggml calls it; empty where no block divides the rows.
    """
    word = word_of(scheme, options, name)
    kinds = (kind.upper() for kind in (word, FALLBACKS.get(word, word)))
    return next((kind for kind in kinds if columns % TYPES[kind].block == 0), "")


def word_of(scheme: str, options: Mapping[str, Any], name: str) -> str:
    """Return the scheme that a recipe has for a weight."""
    module = name.removesuffix(".weight")
    return next((word for pattern, word in options.get("layers", {}).items() if matches(module, pattern)), scheme)


def mostly(scheme: str, options: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    """Return the scheme by which a mix is called: the one that a recipe has for most of its values.

    Types that step in for others are none of its words: llama.cpp calls such a file by what was asked for, too.
    """
    words = Counter[str]()
    for name, size in sizes.items():
        words[word_of(scheme, options, name)] += size
    return words.most_common(1)[0][0]


def matches(module: str, pattern: str) -> bool:
    """Return whether a pattern names a module: exactly, by glob, or as a container of it."""
    return fnmatchcase(module, pattern) or fnmatchcase(module, f"{pattern}.*")


def layout(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Layout:  # noqa: ARG001
    """Return the one tensor of a weight, of its type and of the shape that it has."""
    return {name: (type_of(scheme, options, name, shape[-1]), shape)}


def pack(scheme: str, options: Mapping[str, Any], name: str, weight: torch.Tensor) -> Packed:
    """Quantize one weight with the gguf package's own function."""
    from pipeline.backends.gguf.library import quantized

    kind = type_of(scheme, options, name, weight.shape[-1])
    return Packed({name: quantized(weight, kind)}, kind)


def packing(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> Packing | None:  # noqa: ARG001
    """Return our own packing of a weight."""
    from pipeline.backends.gguf.packings import Blocks

    return Blocks(type_of(scheme, options, name, shape[-1]), name)


def describe(scheme: str, options: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> str | None:  # noqa: ARG001
    """Return the type that a weight is stored in."""
    return type_of(scheme, options, name, shape[-1])


def metadata(scheme: str, class_name: str, parameters: list[str], packed: Mapping[str, str]) -> dict[str, Any]:  # noqa: ARG001
    """Return the keys of a file: its family, the version of the blocks, and the type that most weights have."""
    ((most, _),) = Counter(packed.values()).most_common(1) or [(scheme.upper(), 0)]
    family = re.sub(r"(Transformer|UNet)\dD?.*", "", class_name).lower() or class_name.lower()
    return {
        "general.architecture": ARCHITECTURES.get(class_name, family),
        "general.quantization_version": QUANTIZATION_VERSION,
        "general.file_type": FILE_TYPES[most],
    }
