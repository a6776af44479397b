"""Every backend's pipeline loads and draws on a machine without a GPU, and the report says at what price."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.quantize.formats import safetensors
from pipeline.quantize.shard_writer import Writer
from pipeline.source.safetensors import read_header
from pipeline.tasks.answers import Answers, Request
from pipeline.tasks.images.medium import is_flat
from pipeline.tasks.loading import quantized_components
from pipeline.validate import generate


@pytest.fixture(autouse=True)
def _no_gpu() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("these are the ways of machines without a GPU")


def _load(model: type[Any], folder: Path, config: Any, **further: Any) -> Any:
    import torch

    return model.from_pretrained(folder, quantization_config=config, dtype=torch.bfloat16, **further)


@contextmanager
def _refusal_lifted() -> Iterator[None]:
    """Let diffusers quantize without a GPU in this process, for as long as the fixture is made."""
    from diffusers.quantizers.bitsandbytes.bnb_quantizer import BnB4BitDiffusersQuantizer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BnB4BitDiffusersQuantizer, "validate_environment", lambda *_, **__: None)
        yield


def _close_to(reference: tuple[Answers, Path], candidate: Answers, folder: Path) -> bool:
    """Tell whether the pictures resemble those of the source without being the same: quantized, not broken."""
    import numpy as np

    own = [np.array(Image.open(reference[1] / picture.file), dtype=float) for picture in reference[0].given]
    other = [np.array(Image.open(folder / picture.file), dtype=float) for picture in candidate.given]
    return bool(0 < abs(np.array(own) - np.array(other)).mean() < 8)


def test_bitsandbytes_in_transformer_and_text_encoder(
    source: Path,
    variant: Any,
    drawn: tuple[Answers, Path],
    request_of_two: Request,
    tmp_path: Path,
) -> None:
    import diffusers
    import torch
    import transformers
    from bitsandbytes.functional import has_avx512bf16

    nf4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    config = diffusers.BitsAndBytesConfig(**nf4)
    with _refusal_lifted():
        transformer = _load(diffusers.FluxTransformer2DModel, source / "transformer", config, device_map="cpu")
    encoder = _load(transformers.T5EncoderModel, source / "text_encoder_2", transformers.BitsAndBytesConfig(**nf4))
    folder = variant(transformer=transformer, text_encoder_2=encoder)
    answers = generate(folder, request_of_two, tmp_path / "out")
    assert answers.how.startswith(
        "from_pretrained; bitsandbytes on a CPU: diffusers' refusal of machines without a GPU was lifted"
    )
    assert answers.how.endswith("cannot hold their shapes: 1") == has_avx512bf16()
    assert "bitsandbytes" in answers.versions
    assert _close_to(drawn, answers, tmp_path / "out")


@pytest.mark.nightly
def test_quanto_in_the_transformer_and_torchao_in_the_text_encoder(
    source: Path, variant: Any, drawn: tuple[Answers, Path], request_of_two: Request, tmp_path: Path
) -> None:
    # As diffusers writes it, this transformer dies of a segmentation fault when it is mapped: its int8 weights lie 8
    # bytes off a multiple of 16. Our files are laid out for it, and load plainly.
    import diffusers
    import transformers
    from torchao.quantization import Int8WeightOnlyConfig

    quanto = diffusers.QuantoConfig(weights_dtype="int8")
    transformer = _load(diffusers.FluxTransformer2DModel, source / "transformer", quanto)
    torchao = transformers.TorchAoConfig(Int8WeightOnlyConfig())
    encoder = _load(transformers.T5EncoderModel, source / "text_encoder_2", torchao)
    folder = variant(transformer=transformer, text_encoder_2=encoder)
    _lay_out_as_we_do(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    assert quantized_components(folder) == {
        "transformer": ("diffusers", "quanto"),
        "text_encoder_2": ("transformers", "torchao"),
    }
    answers = generate(folder, request_of_two, tmp_path / "out")
    assert answers.how.startswith("as published")
    assert {"torchao", "optimum-quanto"} <= answers.versions.keys()
    assert _close_to(drawn, answers, tmp_path / "out")


def _lay_out_as_we_do(path: Path) -> None:
    content = path.read_bytes()
    slots = read_header(path)
    with ThreadPoolExecutor(1) as writing:
        specs = {name: (slot.dtype, slot.shape) for name, slot in slots.items()}
        writer = Writer(path, safetensors, safetensors.place(specs), {"format": "pt"}, 0, writing)
        for name, slot in slots.items():
            writer.put(name, 0, memoryview(content)[slot.begin : slot.end])
        writer.finish({"format": "pt"})


def test_torchao_in_the_transformer_is_loaded_as_published(
    source: Path, variant: Any, request_of_two: Request, tmp_path: Path
) -> None:
    import diffusers
    from torchao.quantization import Int8WeightOnlyConfig

    from pipeline.validate.consumer import answer

    config = diffusers.TorchAoConfig(Int8WeightOnlyConfig())
    folder = variant(transformer=_load(diffusers.FluxTransformer2DModel, source / "transformer", config))
    answers = answer(folder, request_of_two, tmp_path, lambda *_: None)
    assert answers.how == "as published: from_pretrained"


def test_values_that_are_no_numbers_are_counted(
    source: Path, variant: Any, request_of_two: Request, tmp_path: Path
) -> None:
    import diffusers
    import torch

    from pipeline.validate.consumer import answer

    vae = diffusers.AutoencoderKL.from_pretrained(source / "vae", dtype=torch.bfloat16)
    with torch.no_grad():
        vae.decoder.conv_out.bias[0] = float("nan")  # the red channel
    answers = answer(variant(vae=vae), request_of_two, tmp_path, lambda *_: None)
    assert [picture.fault for picture in answers.given] == ["broken: 256 of its values are NaN or infinite"] * 2
    with Image.open(tmp_path / answers.given[0].file) as image:
        assert image.getextrema()[0] == (0, 0)
        assert not is_flat(image)


def test_graphs_beside_weights_are_not_what_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").touch()
    assert quantized_components(tmp_path) == {"model": ("transformers", "onnx")}
    (tmp_path / "model.safetensors").touch()
    assert quantized_components(tmp_path) == {}
