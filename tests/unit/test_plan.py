"""What a plan refuses before anything is read but headers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import pytest

from pipeline.backends import SCHEMES, compressed_tensors, gguf, oracle
from pipeline.backends.oracle.conversion import Conversion, ConversionPlan, ConversionRequest
from pipeline.errors import RecipeError
from pipeline.plan.model import lay_out_result, refuse_unfit
from pipeline.plan.widths import group_sizes, takes
from pipeline.quantize.folder import chosen
from pipeline.recipe import Quantization
from pipeline.source.layout import MODEL, Component, Layout
from pipeline.source.safetensors import TensorInfo

ORACLE = Path(oracle.__file__).parent
CHECKOUT = ORACLE.parents[2]
QUESTION = ConversionRequest(
    library="diffusers",
    class_name="FluxTransformer2DModel",
    config={},
    tensors={},
    dtype="bfloat16",
    quantization={},
    backend="torchao",
)


def test_a_component_of_which_nothing_would_be_quantized_is_refused() -> None:
    component = Component(name="vae", library="diffusers", class_name="AutoencoderKL", small=(), weights=("vae/a",))
    slots = {"vae/a": {"conv.weight": TensorInfo("BF16", (4, 4, 3, 3), 0, 288)}}
    answer = ConversionPlan(
        conversions={"conv.weight": Conversion(parameter="conv.weight", dtype="bfloat16")},
        parameters=("conv.weight",),
        kept={},
        config="{}",
    )
    quantization = Quantization(backend="torchao", scheme="int8-weight-only")
    with pytest.raises(RecipeError, match="vae: torchao int8-weight-only takes no weight of AutoencoderKL"):
        lay_out_result(component, quantization, slots, answer)


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        ({}, "flux-transformer-Q4_K_S.gguf"),
        ({"*.q": "q8_0"}, "flux-transformer-Q4_K_S.gguf"),
        ({"*.mlp": "q6_k"}, "flux-transformer-Q6_K.gguf"),
        ({"*": "q8_0"}, "flux-transformer-Q8_0.gguf"),
    ],
)
def test_a_mix_is_called_by_what_most_of_it_is_asked_to_be(layers: dict[str, str], name: str) -> None:
    """And not by the types that step in: of rows of 96 none is in blocks of 256."""
    component = Component(name="transformer", library="diffusers", class_name="FluxTransformer2DModel", small=())
    slots, begin = {}, 0
    for weight, rows in (("b.q.weight", 32), ("b.k.weight", 32), ("b.v.weight", 32), ("b.mlp.weight", 128)):
        slots[weight] = TensorInfo("BF16", (rows, 96), begin, begin := begin + 2 * 96 * rows)
    taken = {weight: Conversion(parameter=weight, dtype="bfloat16", quantized=True) for weight in slots}
    answer = ConversionPlan(conversions=taken, parameters=tuple(slots), kept={}, config="{}")
    quantization = Quantization(backend="gguf", scheme="q4_k", options={"layers": layers, "names": "diffusers"})
    found = lay_out_result(component, quantization, {"a": slots}, answer, "flux")
    assert [shard.name for shard in found.weights.shards] == [name]


SHAPES = {"a.weight": (8, 576), "b.weight": (8, 1536), "head.weight": (9, 576)}
ROWS = "no group of 128 divides its rows of"


def planned(kept: dict[str, str], scheme: str = "w4a16", shapes: dict[str, tuple[int, ...]] = SHAPES) -> Any:
    """Return what a plan says of a language model of which some modules are kept."""
    part = part_of(MODEL, "transformers", "LlamaForCausalLM", "a")
    answer = ConversionPlan(
        conversions={
            name: Conversion(parameter=name, dtype="bfloat16", quantized=name.removesuffix(".weight") not in kept)
            for name in shapes
        },
        parameters=tuple(shapes),
        kept=kept,
        config="{}",
    )
    slots = {"a": {name: TensorInfo("BF16", shape, 0, 2 * prod(shape)) for name, shape in shapes.items()}}
    options = SCHEMES["compressed-tensors"][scheme].options().model_dump(mode="json")
    asks = Quantization(backend="compressed-tensors", scheme=scheme, options=options)
    return lay_out_result(part, asks, slots, answer).planned()


def test_rows_that_no_group_divides_are_told_with_the_group_size_that_does() -> None:
    kept = planned({"a": f"{ROWS} 576", "head": "output embeddings"}).kept
    assert kept == {"a": f"{ROWS} 576; `group_size: 64` takes them", "head": "output embeddings"}


def test_a_model_of_which_no_row_is_divided_is_refused_with_what_is_possible() -> None:
    with pytest.raises(RecipeError) as told:
        planned(dict.fromkeys("ab", f"{ROWS} 200"), shapes={"a.weight": (8, 200), "b.weight": (9, 200)})
    assert f"of its Linear modules 2 stay ({ROWS} 200)" in told.value.what
    assert told.value.remedy == "Choose fp8-dynamic, whose rows may be so wide."
    with pytest.raises(RecipeError) as told:
        planned({"a": f"{ROWS} 576"}, shapes={"a.weight": (8, 576)})
    assert told.value.remedy == "Write `group_size: 64`."
    with pytest.raises(RecipeError, match="it has no Linear modules"):
        planned({}, shapes={})


@pytest.mark.parametrize("columns", [16, 32, 48, 256, 300])
def test_a_scheme_says_of_its_rows_what_its_backend_looks_at(columns: int) -> None:
    for word, scheme in gguf.SCHEMES.items():
        assert (columns % scheme.multiple == 0) is bool(gguf.type_of(word, {}, "a.weight", columns))
    for word, scheme in compressed_tensors.SCHEMES.items():
        sizes = [{"group_size": size} for size in group_sizes(scheme)] or [{}]
        divided = [compressed_tensors.divided_by(compressed_tensors.configuration(word, size)) for size in sizes]
        assert takes(scheme, columns) is any(columns % size == 0 for size in divided)


def part_of(name: str, library: str, class_name: str, *weights: str, blocks: tuple[str, ...] = ()) -> Component:
    root, weights = name == MODEL, tuple(f"{name}/{file}" for file in weights)
    return Component(
        name=name, root=root, library=library, class_name=class_name, small=(), weights=weights, blocks=blocks
    )


@pytest.mark.parametrize(
    ("parts", "chosen_ones"),
    [
        ([part_of(MODEL, "diffusers", "AutoencoderKL", "a")], (MODEL,)),
        ([part_of(MODEL, "transformers", "LlamaForCausalLM", blocks=("a.gguf",))], (MODEL,)),
        (
            [
                part_of("transformer", "diffusers", "FluxTransformer2DModel", blocks=("transformer/a.gguf",)),
                part_of("text_encoder", "transformers", "T5EncoderModel", "b"),
                part_of("vae", "diffusers", "AutoencoderKL", "c"),
            ],
            ("transformer",),
        ),
    ],
)
def test_what_is_meant_needs_no_name(parts: list[Component], chosen_ones: tuple[str, ...]) -> None:
    """Be it quantized already, which is told then, and not whether it was named."""
    layout = Layout(class_name="Flux", components={part.name: part for part in parts}, top=())
    assert chosen(layout, (), "x") == chosen_ones


def test_a_source_of_gguf_alone_is_told_so_and_what_to_name_instead() -> None:
    part = part_of(MODEL, "transformers", "LlamaForCausalLM", blocks=("a.gguf",))
    with pytest.raises(RecipeError) as told:
        refuse_unfit(part, Quantization(backend="gguf", scheme="q4_0"), "x")
    assert told.value.what == "model is GGUF, which somebody quantized before (a.gguf)."
    assert told.value.remedy.startswith("Name the repository of the full-precision weights")


def test_an_answer_is_kept_by_the_version_of_whatever_library_gave_it(tmp_path: Path) -> None:
    about = tmp_path / "torchao-0.dist-info"
    about.mkdir()
    places = []
    for version in ("1.0", "1.1", "1.1"):
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torchao\nVersion: {version}\n")
        places.append(place_in(CHECKOUT, tmp_path))
    assert places[0] != places[1] == places[2]


@pytest.mark.parametrize(
    ("changed", "asked_again"),
    [
        *((f"oracle/{file.name}", True) for file in sorted(ORACLE.glob("*.py"))),
        ("torchao/library.py", True),
        ("torchao/__init__.py", True),
        ("quanto/__init__.py", False),
    ],
)
def test_an_answer_is_kept_by_the_code_that_asked(changed: str, asked_again: bool, tmp_path: Path) -> None:
    shutil.copytree(ORACLE.parents[1], tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    before = place_in(tmp_path)
    with (tmp_path / "pipeline" / "backends" / changed).open("a") as file:
        file.write("# another version\n")
    assert (place_in(tmp_path) != before) is asked_again


def place_in(checkout: Path, *libraries: Path) -> str:
    """Return where another process keeps an answer, of another checkout or with other libraries installed."""
    code = (
        "import sys; from pathlib import Path; from pipeline.backends.oracle.conversion import *;"
        "print(place_of(ConversionRequest.model_validate_json(sys.argv[1]), Path()))"
    )
    command = [sys.executable, "-c", code, QUESTION.model_dump_json()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, libraries))}
    return subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True, env=environment).stdout
