"""The families that the tests compare, each for what only it shows; the sweep compares them all.

Every run takes each family in one scheme, and two in all; the rest comes at night.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import pytest

FAMILIES: dict[str, dict[str, str]] = {
    "diffusers": {
        "AutoencoderKL": "float32",  # Linears in the attention of its middle
        "AutoencoderTiny": "float16",  # none at all
        "CogVideoXTransformer3DModel": "bfloat16",  # a persistent buffer
        "ControlNetModel": "bfloat16",
        "ControlNetUnionModel": "bfloat16",  # MultiheadAttention: its out_proj is quanto's alone
        "CosmosTransformer3DModel": "float32",
        "DiTTransformer2DModel": "float16",
        "HunyuanVideoTransformer3DModel": "bfloat16",
        "Kandinsky5Transformer3DModel": "bfloat16",  # whole containers kept in float32
        "LTXVideoTransformer3DModel": "bfloat16",
        "MochiTransformer3DModel": "float32",
        "MotionAdapter": "bfloat16",  # position tables as buffers
        "PixArtTransformer2DModel": "float16",
        "QwenImageTransformer2DModel": "bfloat16",
        "SD3Transformer2DModel": "float16",  # a position table as buffer
        "UNet2DConditionModel": "float16",
        "WanTransformer3DModel": "bfloat16",  # kept in float32 below bfloat16
    },
    "transformers": {
        "BertModel": "float32",
        "CLIPModel": "float32",  # the last Linear stays
        "CLIPTextModelWithProjection": "float16",
        "GPT2LMHeadModel": "float32",  # Conv1D, turned before it is quantized; tied head
        "Gemma3ForConditionalGeneration": "bfloat16",  # file names unlike module names
        "LlamaForCausalLM": "bfloat16",
        "MistralModel": "bfloat16",
        "MixtralForCausalLM": "bfloat16",  # experts merged on loading, parted on saving
        "PhimoeModel": "bfloat16",  # the router's pieces are not renamed with its weight
        "Qwen2VLForConditionalGeneration": "bfloat16",
        "Qwen3ForCausalLM": "bfloat16",
        "Qwen3MoeForCausalLM": "bfloat16",
        "NomicBertModel": "bfloat16",  # one tensor in the file, three Linears in the model
        "PaliGemmaForConditionalGeneration": "float32",  # MultiheadAttention in its vision tower
        "SiglipModel": "float32",
        "T5EncoderModel": "float32",  # `wo` stays in float32 below float16
        "UMT5EncoderModel": "bfloat16",
        "WhisperForConditionalGeneration": "float32",
    },
}


@dataclass(frozen=True)
class Wanted:
    """A case by name, before its family has a folder."""

    name: str
    scheme: str
    dtype: str = "bfloat16"
    keep: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Name the case in a test's id."""
        return "-".join((self.name, self.scheme, self.dtype, *self.keep))


SCHEMES = {"diffusers": ("nf4", "int8", "torchao", "quanto"), "transformers": ("nf4", "int8", "torchao")}
FAILING = [Wanted("CLIPModel", "torchao")]  # transformers finds no input embeddings in it
PARTED = "NomicBertModel"
EVERY = [Wanted(name, scheme) for library, names in FAMILIES.items() for name in names for scheme in SCHEMES[library]]
WHOLE = ("SD3Transformer2DModel", "LlamaForCausalLM")  # taken in every scheme
TURNS = {
    Wanted(name, scheme)
    for library, names in FAMILIES.items()
    for name, scheme in zip(names, cycle(SCHEMES[library]), strict=False)
}
TOO = {
    Wanted("ControlNetUnionModel", "quanto"),  # which alone takes its out_proj
    *(Wanted("GPT2LMHeadModel", scheme) for scheme in ("nf4", "int8")),
    Wanted("CLIPModel", "nf4"),  # torchao takes it not at all
}
SPECIAL = [
    *(Wanted(PARTED, scheme, keep=("*.q_proj", "*.k_proj", "*.v_proj")) for scheme in ("nf4", "torchao")),
    Wanted("T5EncoderModel", "nf4", "float16"),
    Wanted("T5EncoderModel", "torchao", "float16"),
    Wanted("WanTransformer3DModel", "torchao", "float16"),
    Wanted("WanTransformer3DModel", "quanto", "float32"),
    Wanted("MixtralForCausalLM", "nf4", "float32"),
]
CASES = [*(wanted for wanted in EVERY if wanted not in FAILING and wanted.name != PARTED), *SPECIAL]

KEPT: list[tuple[str, str, tuple[str, ...]]] = [
    ("WanTransformer3DModel", "blocks.0.attn1.*", ("nf4", "torchao")),
    ("WanTransformer3DModel", "proj_out", ("nf4", "torchao", "quanto")),
    ("SD3Transformer2DModel", "*.to_q", ("nf4", "int8", "torchao", "quanto")),
    ("UNet2DConditionModel", "time_embedding", ("nf4", "torchao", "quanto")),
    ("UNet2DConditionModel", "*.attn2", ("nf4", "int8", "torchao")),
    ("LlamaForCausalLM", "model.layers.1.mlp", ("nf4", "int8", "torchao")),
    ("Qwen3MoeForCausalLM", "*.o_proj", ("nf4", "torchao")),
    ("GPT2LMHeadModel", "transformer.h.0.attn.c_attn", ("nf4", "int8")),
    ("Gemma3ForConditionalGeneration", "*.vision_tower.*", ("nf4", "torchao")),
    ("T5EncoderModel", "encoder.block.1", ("nf4", "torchao")),
    ("CLIPTextModelWithProjection", "*.q_proj", ("nf4", "torchao")),
]
REFUSED: list[tuple[str, str, tuple[str, ...]]] = [
    ("WanTransformer3DModel", "blocks.0.attn1.*", ("quanto",)),  # quanto knows leaf names only
]
KEEPS = [Wanted(name, scheme, keep=(glob,)) for name, glob, schemes in (*KEPT, *REFUSED) for scheme in schemes]


def refused(wanted: Wanted) -> bool:
    """Return whether a case is one that the library cannot be told."""
    return any(
        wanted.name == name and wanted.keep == (glob,) and wanted.scheme in schemes for name, glob, schemes in REFUSED
    )


def each(cases: Iterable[Wanted]) -> Any:
    """Test each case, most of them by night."""
    kept = {Wanted(name, schemes[-1], keep=(glob,)) for name, glob, schemes in (*KEPT, *REFUSED)}
    sample = {*TURNS, *TOO, *SPECIAL, *kept}
    return pytest.mark.parametrize(
        "wanted",
        [
            pytest.param(
                wanted, id=str(wanted), marks=() if wanted in sample or wanted.name in WHOLE else pytest.mark.nightly
            )
            for wanted in cases
        ],
    )


Said = dict[Wanted, dict[str, Any]]
