"""A source that somebody quantized before is told what it is, whether or not its config says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import SourceError
from pipeline.plan.full_precision import require_full_precision
from pipeline.quantize.formats import safetensors
from pipeline.source.layout import Folder, read_single, read_slots

FLOAT8 = {"a.weight": ("F8_E4M3", (4, 8)), "b.weight": ("BF16", (4, 8))}
MARKER = json.dumps({"format": "float8_e4m3fn"}).encode()
SOURCES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "cast": (FLOAT8, {}, "float8 without scales"),
    "scaled": (
        FLOAT8 | {"a.scale_weight": ("F32", ()), "scaled_fp8": ("F8_E4M3", (2,))},
        {},
        "ComfyUI's scaled float8",
    ),
    "marked": (FLOAT8 | {"a.weight_scale": ("F32", ()), "a.comfy_quant": ("U8", (len(MARKER),))}, {}, "ComfyUI"),
    "named": (
        {"a.weight": ("U8", (16, 1)), "b.weight": ("BF16", (4, 8))},
        {"quantization_config": {"quant_method": "bitsandbytes"}},
        "bitsandbytes",
    ),
}


def check(folder: Path, tensors: dict[str, Any], further: dict[str, Any]) -> None:
    config = {"_class_name": "FluxTransformer2DModel", **further}
    placed = safetensors.place(tensors)
    header = safetensors.header(placed.slots, {"format": "pt"})
    content = bytearray(placed.end)
    if marker := placed.slots.get("a.comfy_quant"):
        content[marker.begin : marker.end] = MARKER
    start = safetensors.start(len(header))
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(safetensors.prefix(header, start) + content)
    (folder / "config.json").write_text(json.dumps(config))
    place = Folder(folder)
    component = read_single(place).components["model"]
    require_full_precision(place, component, config, read_slots(place, component))


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_quantized_already_is_told_what_it_is(name: str, tmp_path: Path) -> None:
    tensors, config, title = SOURCES[name]
    with pytest.raises(SourceError) as refused:
        check(tmp_path, tensors, config)
    said = str(refused.value)
    assert f"This FluxTransformer2DModel is quantized already: it is {title}" in said
    assert "the full-precision weights as the source; `publish lint`" in said


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "I64"])
def test_plain_weights_and_tables_of_integers_are_taken(dtype: str, tmp_path: Path) -> None:
    check(tmp_path, {"a.weight": ("BF16", (4, 8)), "positions": (dtype, (1, 16))}, {})


@pytest.mark.parametrize(("file", "told"), [("a-Q8_0.gguf", "holds GGUF"), ("a.safetensors", "what a single file is")])
def test_a_file_is_no_source_and_is_told_what_is(file: str, told: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(
        SourceError, match=f"It is a file, and a source is a diffusers pipeline.*{told}.*`publish lint`"
    ):
        Folder(tmp_path / file)
