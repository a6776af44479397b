"""Honest files that look odd: others load them, so nothing more than a warning is said of them."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.errors import SourceError
from pipeline.lint import Examined, lint
from pipeline.source.gguf import parse_header
from pipeline.source.layout import Folder
from tests.lint.spoil import opened

CHANCE = np.random.default_rng(7)
Arrays = dict[str, "np.ndarray[Any, Any]"]


def weights(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (0.02 * CHANCE.standard_normal(shape)).astype(np.float32)


def as_gguf(
    path: Path, quantized: Arrays, plain: Arrays | None = None, *, named: bool = True, kind: str = "Q8_0"
) -> None:
    """Write a file by gguf-py."""
    writer = gguf.GGUFWriter(path, "flux")
    if not named:
        del writer.kv_data[0]["general.architecture"]
    for name, array in quantized.items():
        found = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, gguf.quantize(array, found), raw_dtype=found)
    for name, array in (plain or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def looked_at(folder: Path, base: Path | None = None) -> Examined:
    (model,) = lint(Folder(folder), Folder(base) if base else None).models
    return model


def told(model: Examined) -> list[tuple[str, str]]:
    return [(fault.level, fault.rule) for fault in model.faults]


def test_stable_diffusion_cpp_names_no_architecture(tmp_path: Path) -> None:
    as_gguf(tmp_path / "model.gguf", {"model.diffusion_model.a.weight": weights(64, 256)}, named=False)
    model = looked_at(tmp_path)
    assert told(model) == [("warning", "marker-missing")]
    assert model.loaders == "ComfyUI-GGUF; diffusers by GGUFQuantizationConfig"


def test_who_reads_long_names_is_told(tmp_path: Path) -> None:
    as_gguf(tmp_path / "model.gguf", {"blk.0.ffn_up.weight": weights(64, 256)})
    assert "llama.cpp" in looked_at(tmp_path).loaders
    as_gguf(tmp_path / "model.gguf", {f"blk.0.{'long.' * 20}weight": weights(64, 256)})
    model = looked_at(tmp_path)
    assert not model.faults
    assert "llama.cpp" not in model.loaders
    assert "transformers" in model.loaders


@pytest.mark.parametrize("dtype", ["int64", "int32", "bool"])
def test_numbers_of_positions_are_no_codes(dtype: str, tmp_path: Path, made: Path) -> None:
    """As every checkpoint of Stable Diffusion 1.5 has them."""
    import torch

    shutil.copytree(made / "comfy-int8", tmp_path / "model")
    with opened(tmp_path / "model") as held:
        held.tensors["embeddings.position_ids"] = torch.arange(77)[None].to(getattr(torch, dtype))
    assert not looked_at(tmp_path / "model").faults


def test_a_mask_hides_by_minus_infinity(tmp_path: Path) -> None:
    hidden = np.full((1,), -np.inf, np.float32)
    as_gguf(tmp_path / "model.gguf", {"a.weight": weights(64, 256)}, {"attn.mask": hidden})
    assert told(looked_at(tmp_path)) == [("warning", "weight-damaged")]
    as_gguf(tmp_path / "model.gguf", {"a.weight": weights(64, 256)}, {"attn.bias": hidden})
    assert told(looked_at(tmp_path)) == [("error", "weight-damaged")]


def test_a_file_of_a_vocabulary_alone_holds_no_tensors(tmp_path: Path) -> None:
    as_gguf(tmp_path / "model.gguf", {})
    assert told(looked_at(tmp_path)) == [("warning", "tensor-missing")]


def test_a_big_endian_file_is_turned_and_not_downloaded_again(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "big") + bytes(64))
    model = looked_at(tmp_path)
    assert "gguf-convert-endian" in str(model.faults[0])
    assert not model.loaders


def test_tensors_that_lie_apart_are_read_by_all_but_llama_cpp(tmp_path: Path) -> None:
    as_gguf(tmp_path / "model.gguf", {"blk.0.weight": weights(64, 256), "blk.1.weight": weights(64, 256)})
    size = 64 * 256 // 32 * 34
    content = (tmp_path / "model.gguf").read_bytes()
    moved = content[:-size].replace(struct.pack("<Q", size), struct.pack("<Q", size + 64))
    (tmp_path / "model.gguf").write_bytes(moved + bytes(64) + content[-size:])
    model = looked_at(tmp_path)
    assert told(model) == [("warning", "file-broken")]
    assert "llama.cpp" not in model.loaders


def test_a_claim_of_more_texts_than_a_file_has_is_refused_at_once() -> None:
    count = 1 << 24
    key = struct.pack("<Q", 1) + b"t" + struct.pack("<IIQ", 9, 8, count)
    read = list[int]()

    def read_range(offset: int, length: int) -> bytes:
        read.append(offset)
        return (header + bytes(length))[offset : offset + length] if offset < len(header) else bytes(length)

    header = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key
    with pytest.raises(SourceError, match="array"):
        parse_header(read_range, len(header) + 7 * count, "model.gguf")
    assert len(read) == 1


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_dead_neurons_and_untrained_layers_are_what_the_base_has(kind: str, tmp_path: Path) -> None:
    layers = {f"blocks.{block}.weight": weights(64, 256) for block in range(3)}
    layers["blocks.1.weight"][5] *= 1e-7  # of which float16 has no scale
    layers["blocks.2.weight"][:] = 0
    for place in ("model", "base"):
        (tmp_path / place).mkdir()
    as_gguf(tmp_path / "model/model.gguf", layers, kind=kind)
    save_file(layers, tmp_path / "base/model.safetensors")
    assert not looked_at(tmp_path / "model", tmp_path / "base").faults
    layers["blocks.1.weight"][9] = 0
    as_gguf(tmp_path / "model/model.gguf", layers, kind=kind)
    assert told(looked_at(tmp_path / "model", tmp_path / "base")) == [("error", "layer-degenerate")]


def test_a_base_that_can_tell_nothing_is_refused(tmp_path: Path, made: Path) -> None:
    """Or a check would stay green that was given the wrong one."""
    with pytest.raises(SourceError, match=r"quantized itself \(GGUF, flux\)"):
        lint(Folder(made / "comfy-int8"), Folder(made / "gguf-q8_0"))
    save_file({"other.weight": weights(64, 256)}, tmp_path / "model.safetensors")
    (fault,) = lint(Folder(made / "comfy-int8"), Folder(tmp_path)).faults
    assert (fault.level, fault.rule) == ("error", "format-unclear")
