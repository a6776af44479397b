"""What lies in one tensor of a family's file is laid out as one, with the parts of its packing under its own name."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.backends.gguf.llama_cpp import tensors_of
from pipeline.backends.oracle.conversion import Conversion, ConversionPlan
from pipeline.backends.oracle.single_file import FileTensor, Rows, SingleFile
from pipeline.errors import RecipeError
from pipeline.plan.shards import lay_out_as
from pipeline.source.safetensors import Specs, TensorInfo

WEIGHTS = ("a.to_q.weight", "a.to_k.weight")


def layout(name: str, shape: tuple[int, ...], _dtype: str) -> Specs:
    """Codes, and a scale for each row."""
    return {name: ("I8", shape), f"{name}_scale": ("F32", (shape[0], 1)), f"{name[:-6]}mark": ("U8", (9,))}


def laid_out(target: str, shape: tuple[int, ...], kept: tuple[str, ...] = ()) -> Specs:
    """Return how a file lies that has both weights in one tensor."""
    conversions = {name: Conversion(parameter=name, dtype="bfloat16", quantized=name not in kept) for name in WEIGHTS}
    answer = ConversionPlan(conversions=conversions, parameters=WEIGHTS, kept={}, config="")
    slots = {name: TensorInfo("BF16", (4, 8), 64 * at, 64 * (at + 1)) for at, name in enumerate(WEIGHTS)}
    rows = tuple(Rows(tensor=name, start=0, stop=4) for name in WEIGHTS)
    file = SingleFile(tensors={target: FileTensor(shape=shape, rows=rows)})
    (shard,) = lay_out_as(file, answer, slots, layout, "x.safetensors").shards
    assert shard.scattered == shard.tensors.keys()
    return shard.tensors


def test_parts_of_a_packing_are_of_the_whole_tensor_and_called_after_it() -> None:
    wanted = {"b.qkv.weight": ("I8", (8, 8)), "b.qkv.weight_scale": ("F32", (8, 1)), "b.qkv.mark": ("U8", (9,))}
    assert laid_out("b.qkv.weight", (8, 8)) == wanted


@pytest.mark.parametrize(("target", "shape"), [("b.qkv.weight", (8, 8, 1, 1)), ("b.in_proj_weight", (8, 8))])
def test_what_is_no_weight_of_a_layer_there_is_refused_by_name(target: str, shape: tuple[int, ...]) -> None:
    said = rf"have a\.to_q\.weight as {target} of shape .* no loader takes quantized.* Keep a\.to_q under keep:"
    with pytest.raises(RecipeError, match=said):
        laid_out(target, shape)


def test_what_is_kept_in_part_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match=r"a\.to_q\.weight \(I8\) and a\.to_k\.weight \(BF16\) in one tensor"):
        laid_out("b.qkv.weight", (8, 8), kept=WEIGHTS[1:])


@pytest.mark.parametrize(("parts", "piece"), [(1, 5), (2, 3), (2, 7), (2, 60), (3, 8), (15, 4)])
def test_rows_of_parts_take_turns_in_pieces_of_any_size(parts: int, piece: int) -> None:
    rows, width = Rows(tensor="x", start=2, stop=2 + 4 * parts, parts=parts), 3
    held = np.arange((rows.stop + 2) * width)
    own = held[rows.start * width : rows.stop * width]
    wanted = own.reshape(parts, -1, width).swapaxes(0, 1).reshape(-1)
    found, written = [], np.full(own.size, -1)
    for at in range(0, own.size, piece):
        for begin, end in rows.sources(at, min(at + piece, own.size), width):
            found += held[begin:end].tolist()
        first = rows.start * width + at
        for begin, end, place in rows.targets(first, min(first + piece, rows.stop * width), width):
            written[place : place + end - begin] = held[begin:end]
    assert found == wanted.tolist() == written.tolist()


def test_a_part_of_a_head_is_no_piece_of_its_own() -> None:
    shapes = {f"model.layers.{layer}.self_attn.q_proj.weight": (16384, 16384) for layer in range(126)}
    config = {"num_attention_heads": 128, "num_key_value_heads": 8, "hidden_size": 16384, "num_hidden_layers": 126,
              "max_position_embeddings": 8192, "intermediate_size": 53248, "vocab_size": 128256}  # fmt: skip
    tensors = tensors_of("LlamaForCausalLM", config, shapes)  # of a Llama of 405 billion parameters
    assert sum(len(tensor.rows) for tensor in tensors.values()) == 126 * 128
